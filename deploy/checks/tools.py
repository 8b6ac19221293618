"""The tools of the checks: pinned, installed once into a git-ignored folder of the checkout, without root.

| tool | source | pinned by |
|---|---|---|
| kustomize, podsecurity | the Go module proxy, built here | go.mod and go.sum beside this file |
| helm | the Go module proxy, built here | go.mod and go.sum in `helm/`: it needs other versions of the same modules |
| resource definitions of KEDA, the Prometheus operator and External Secrets | the Go module proxy | the sums below |
| checkov, in its own virtual environment | PyPI | checkov.txt beside this file, with hashes |
| axe-core | npm | axe/package-lock.json beside this file |
| prometheus, promtool, Chromium (see `debian`) | Debian's packages | the signature of the distribution |
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CACHE = REPOSITORY / ".deploy-tools"
HERE = Path(__file__).parent
_SECONDS = 900.0
_KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5"
_HELM = "helm.sh/helm/v4/cmd/helm"
_CRD_MODULES = {
    "github.com/kedacore/keda/v2@v2.17.2": (
        "h1:xlrcK5TKABJF9PebK79sgL07s/csGjL3H4m72OkZXxk=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
    "github.com/external-secrets/external-secrets@v0.20.4": (
        "h1:HhNAjWfFEshhItphr28SGsHzf2bUP7uDAOVLg76uNAg=",
        ("config/crds/bases/external-secrets.io_externalsecrets.yaml",),
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
}
"""Go modules with custom resource definitions: the sum of each module, and its files for the kinds in our manifests."""


class ToolError(RuntimeError):
    """A tool is missing or has failed; the message names it."""


class ToolFailedError(ToolError):
    """The tool ran and failed, or exceeded its time limit; the message ends with its output."""


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path = REPOSITORY,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its standard output.

    Raises:
        ToolError: the command could not be started.
        ToolFailedError: its exit code was not 0, or it exceeded the time limit.
    """
    name = " ".join(map(str, command[:3]))
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        raise ToolError(f"{name}: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailedError(f"{name}: {error}") from error
    if done.returncode:
        raise ToolFailedError(f"{name}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def ensure_go_tools() -> tuple[Path, Path]:
    """Build kustomize and podsecurity if their sources or pins have changed; return both programs.

    Raises:
        ToolError: Go is missing, or could not fetch or build.
    """
    folder = CACHE / "go"
    sources = (HERE / "go.sum", HERE / "go.mod", HERE / "podsecurity" / "main.go")
    install_once(folder, "\n".join(path.read_text("utf-8") for path in sources), _build_go_tools)
    kustomize = folder / "kustomize"
    return (kustomize if kustomize.exists() else folder / "v5"), folder / "podsecurity"


def _build_go_tools(folder: Path) -> None:
    for package in (_KUSTOMIZE, "./podsecurity"):
        _go_build(package, HERE, folder)


def ensure_helm() -> Path:
    """Build helm if its pins have changed; return the program.

    Raises:
        ToolError: Go is missing, or could not fetch or build.
    """
    folder, module = CACHE / "helm", HERE / "helm"
    pins = "\n".join((module / name).read_text("utf-8") for name in ("go.mod", "go.sum"))
    install_once(folder, pins, lambda folder: _go_build(_HELM, module, folder))
    return folder / "helm"


def _go_build(package: str, module: Path, folder: Path) -> None:
    environment = {"GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0", "GOWORK": "off"}
    command = ("go", "build", "-trimpath", "-buildvcs=false", "-o", f"{folder}/", package)
    run(command, cwd=module, environment=environment)


def fetch_crds() -> list[Path]:
    """Fetch the files with the custom resource definitions.

    Raises:
        ToolError: Go is missing, or a module could not be fetched or differs from its pinned sum.
    """
    files: list[Path] = []
    for module, (pinned, paths) in _CRD_MODULES.items():
        # Run outside of any Go module, so that Go fetches only the sources and not their dependencies.
        download = ("go", "mod", "download", "-json", module)
        fetched = json.loads(run(download, cwd=Path("/"), environment={"GOWORK": "off"}))
        if fetched["Sum"] != pinned:
            raise ToolError(f"{module} does not have the pinned sum: {fetched['Sum']}")
        files += (Path(fetched["Dir"]) / path for path in paths)
    return files


def ensure_checkov() -> Path:
    """Install checkov in its own virtual environment, because its dependencies conflict with the worker's.

    Raises:
        ToolError: it could not be installed.
    """
    folder = CACHE / "checkov"
    install_once(folder, (HERE / "checkov.txt").read_text("utf-8"), _install_checkov)
    return folder / "bin" / "checkov"


def _install_checkov(folder: Path) -> None:
    run((sys.executable, "-m", "venv", folder))
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run((*pip, "--require-hashes", "--requirement", HERE / "checkov.txt"))


def ensure_axe() -> Path:
    """Install axe-core, and return its script.

    Raises:
        ToolError: npm is missing, or could not install it.
    """
    folder = CACHE / "axe"
    install_once(folder, (HERE / "axe" / "package-lock.json").read_text("utf-8"), _install_axe)
    return folder / "node_modules" / "axe-core" / "axe.min.js"


def _install_axe(folder: Path) -> None:
    for pinned in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "axe" / pinned, folder)
    run(("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"), cwd=folder)


def install_once(folder: Path, pins: str, install: Callable[[Path], None]) -> None:
    """Empty `folder` and install into it, unless an installation with the same pins has succeeded before.

    If several processes ask at once, one installs and the others wait.
    """
    marker = folder / ".made-of"
    with hold_lock(folder.name):
        if marker.exists() and marker.read_text("utf-8") == pins:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install(folder)
        marker.write_text(pins, "utf-8")


@contextmanager
def hold_lock(name: str) -> Iterator[None]:
    """Hold the lock `name`, which one process at a time can hold."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
