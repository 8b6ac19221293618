"""Makes the peers: a virtual environment or a program for each, once, in a git-ignored folder of the checkout."""

import shutil
import sys
from functools import partial
from pathlib import Path

from deploy.checks import tools

_HERE = Path(__file__).parent
_FOLDER = tools.CACHE / "peers"


class PeerMissingError(RuntimeError):
    """A peer cannot be had on this machine; the message says why."""


def ensure_python_peer(name: str) -> tuple[str, ...]:
    """Install the pinned packages of the peer in folder `name`; returns the command that starts it.

    Raises:
        PeerMissingError: the packages could not be installed.
    """
    requirements = _HERE / name / "requirements.txt"
    environment = _FOLDER / name
    install = partial(_install_packages, requirements)
    try:
        tools.install_once(environment, f"{sys.version}\n{requirements.read_text('utf-8')}", install)
    except tools.ToolError as error:
        raise PeerMissingError(_last_line(error)) from error
    return str(environment / "bin" / "python"), "-m", f"tests.benchmarks.peers.{name}.consumer"


def ensure_go_peer() -> tuple[str, ...]:
    """Build the peer in folder `go`; returns the command that starts it.

    Raises:
        PeerMissingError: Go is missing or too old, or could not fetch the modules.
    """
    if shutil.which("go") is None:
        raise PeerMissingError("Go is not installed")
    sources = sorted(path for path in (_HERE / "go").iterdir() if path.suffix in (".go", ".mod", ".sum"))
    program = _FOLDER / "go"
    try:
        tools.install_once(program, "\n".join(path.read_text("utf-8") for path in sources), _build)
    except tools.ToolError as error:
        raise PeerMissingError(_last_line(error)) from error
    return (str(program / "consumer"),)


def _install_packages(requirements: Path, environment: Path) -> None:
    tools.run((sys.executable, "-m", "venv", environment))
    pip = (environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    tools.run((*pip, "--require-hashes", "--requirement", requirements))


def _build(folder: Path) -> None:
    # No other toolchain is downloaded when the one that is installed is too old.
    settings = {"GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    command = ("go", "build", "-trimpath", "-buildvcs=false", "-o", folder / "consumer", ".")
    tools.run(command, cwd=_HERE / "go", environment=settings)


def _last_line(error: tools.ToolError) -> str:
    return str(error).strip().splitlines()[-1]
