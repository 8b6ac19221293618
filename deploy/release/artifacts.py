"""Builds sdist, wheel, Helm chart and SBOM of a commit, so that each build of the commit gives the same bytes."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

from deploy.checks import tools

_HERE = Path(__file__).parent
_ENVIRONMENTS = (
    {"TZ": "UTC", "PYTHONHASHSEED": "1"},
    {"TZ": "Pacific/Auckland", "PYTHONHASHSEED": "2"},
)
"""Of the builds that are compared: what must not matter differs, as does the folder."""


class Commit(NamedTuple):
    """A commit, and its time in seconds since 1970, which is the only time in what is built."""

    id: str
    epoch: int


class NotReproducibleError(Exception):
    """Two builds of one commit differ; the message names the files."""


def read_commit(repository: Path) -> Commit:
    """The current commit. Raises ToolError without git."""
    name, epoch = tools.run(("git", "log", "-1", "--format=%H %ct"), cwd=repository).split()
    return Commit(name, int(epoch))


def build_reproducibly(repository: Path, commit: Commit, scratch: Path) -> list[Path]:
    """Build twice below `scratch`; returns the files of the first build.

    Raises:
        NotReproducibleError: the builds differ.
        ToolError: a tool is missing or has failed.
    """
    builds = [
        _build(repository, commit, scratch / f"build-{number}", environment)
        for number, environment in enumerate(_ENVIRONMENTS, 1)
    ]
    first, second = ({path.name: path.read_bytes() for path in build} for build in builds)
    if differing := sorted(name for name in {*first, *second} if first.get(name) != second.get(name)):
        raise NotReproducibleError(f"two builds of {commit.id} differ: {', '.join(differing)}")
    return builds[0]


def _build(repository: Path, commit: Commit, folder: Path, environment: dict[str, str]) -> list[Path]:
    """Build from the committed files alone; the wheel from the sdist, which shows that the sdist is complete."""
    environment = {**environment, "SOURCE_DATE_EPOCH": str(commit.epoch)}
    out = folder / "dist"
    out.mkdir(parents=True)
    source = _unpack(_archive(repository, commit), folder / "source")
    _run_hatchling(source, "sdist", out, environment)
    (sdist,) = out.glob("*.tar.gz")
    (unpacked,) = _unpack(sdist.read_bytes(), folder / "sdist").iterdir()
    _run_hatchling(unpacked, "wheel", out, environment)
    chart = source / "deploy" / "helm" / "metrics-worker"
    tools.run((tools.ensure_helm(), "package", chart, "--destination", out), environment=environment)
    _write_sbom(source, out / f"{sdist.name.removesuffix('.tar.gz')}.cdx.json", environment)
    return sorted(out.iterdir())


def _archive(repository: Path, commit: Commit) -> bytes:
    command = ("git", "archive", "--format=tar", commit.id)
    return subprocess.run(command, cwd=repository, capture_output=True, check=True).stdout


def _unpack(archive: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _run_hatchling(source: Path, target: str, out: Path, environment: dict[str, str]) -> None:
    command = (sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", out)
    tools.run(command, cwd=source, environment=environment)


def _write_sbom(source: Path, file: Path, environment: dict[str, str]) -> None:
    """List what the image installs: the packages of an environment made of deploy/requirements.txt."""
    program = _ensure_cyclonedx()
    installed = ensure_requirements(source / "deploy" / "requirements.txt")
    options = ("--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON", "--output-file", file)
    pyproject = source / "pyproject.toml"
    tools.run((program, "environment", *options, "--pyproject", pyproject, installed), environment=environment)


def _ensure_cyclonedx() -> Path:
    """The SBOM's generator, in its own virtual environment: it brings thirty packages."""
    return _ensure_environment("cyclonedx", _HERE / "cyclonedx.txt") / "cyclonedx-py"


def ensure_requirements(requirements: Path) -> Path:
    return _ensure_environment("release-requirements", requirements) / "python"


def _ensure_environment(name: str, requirements: Path) -> Path:
    """The folder of the programs of a virtual environment with exactly these requirements."""
    folder = tools.CACHE / name

    def install(folder: Path) -> None:
        tools.run((sys.executable, "-m", "venv", "--without-pip", folder))
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "bin" / "python")
        tools.run((*pip, "install", "--quiet", "--require-hashes", "--only-binary=:all:", "-r", requirements))

    tools.install_once(folder, f"{sys.version}\n{requirements.read_text('utf-8')}", install)
    return folder / "bin"
