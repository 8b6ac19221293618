"""The tools that judge: fetched once into a folder of the checkout that git ignores, pinned, without root.

| tool | from | pinned by |
|---|---|---|
| kustomize, podsecurity | the Go module proxy, built here | go.mod and go.sum beside this file |
| KEDA's and the Prometheus operator's kinds | the Go module proxy | the sums below |
| checkov, in an environment of its own | PyPI | checkov.txt beside this file, with hashes |
| prometheus, promtool, Chromium (see `debian`) | Debian's packages | the signature of the distribution |
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CACHE = REPOSITORY / ".deploy-tools"
HERE = Path(__file__).parent
_SECONDS = 900.0
_KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5"
_CRD_MODULES = {
    "github.com/kedacore/keda/v2@v2.17.2": (
        "h1:xlrcK5TKABJF9PebK79sgL07s/csGjL3H4m72OkZXxk=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
}
"""Go modules with custom resource definitions: the sum of each, and its files for the kinds that are used here."""


class ToolMissingError(RuntimeError):
    """A tool cannot be had here; the text says which, and what was said."""


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path = REPOSITORY,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """What a command wrote on standard output.

    Raises:
        ToolMissingError: it is not there, did not end in time, or failed; with the end of what it said.
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
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissingError(f"{name}: {error}") from error
    if done.returncode:
        raise ToolMissingError(f"{name}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def ensure_go_tools() -> tuple[Path, Path]:
    """The programs kustomize and podsecurity, built when the pins have changed.

    Raises:
        ToolMissingError: no Go, or it could not fetch or build.
    """
    folder = CACHE / "go"
    sources = (HERE / "go.sum", HERE / "go.mod", HERE / "podsecurity" / "main.go")
    pins = "\n".join(path.read_text("utf-8") for path in sources)
    if not is_made(folder, pins):
        environment = {"GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0", "GOWORK": "off"}
        for package in (_KUSTOMIZE, "./podsecurity"):
            command = ("go", "build", "-trimpath", "-buildvcs=false", "-o", f"{folder}/", package)
            run(command, cwd=HERE, environment=environment)
        made(folder, pins)
    kustomize = folder / "kustomize"
    return (kustomize if kustomize.exists() else folder / "v5"), folder / "podsecurity"


def fetch_crds() -> list[Path]:
    """The files of the custom resource definitions.

    Raises:
        ToolMissingError: no Go, a module could not be fetched, or is not the one that is pinned.
    """
    files: list[Path] = []
    for module, (pinned, paths) in _CRD_MODULES.items():
        # Outside of any module, so that only the sources are fetched and none of what they need.
        download = ("go", "mod", "download", "-json", module)
        fetched = json.loads(run(download, cwd=Path("/"), environment={"GOWORK": "off"}))
        if fetched["Sum"] != pinned:
            raise ToolMissingError(f"{module} is not the module that is pinned: {fetched['Sum']}")
        files += (Path(fetched["Dir"]) / path for path in paths)
    return files


def ensure_checkov() -> Path:
    """The program checkov, in an environment of its own: its dependencies would not go with the worker's.

    Raises:
        ToolMissingError: it could not be installed.
    """
    folder, pins = CACHE / "checkov", (HERE / "checkov.txt").read_text("utf-8")
    if not is_made(folder, pins):
        run((sys.executable, "-m", "venv", folder))
        pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run((*pip, "--require-hashes", "--requirement", HERE / "checkov.txt"))
        made(folder, pins)
    return folder / "bin" / "checkov"


def is_made(folder: Path, pins: str) -> bool:
    """Whether `folder` was finished with these pins; if not it is there and empty."""
    marker = folder / ".made-of"
    if marker.exists() and marker.read_text("utf-8") == pins:
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return False


def made(folder: Path, pins: str) -> None:
    """Mark `folder` as finished with these pins."""
    (folder / ".made-of").write_text(pins, "utf-8")
