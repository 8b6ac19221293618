"""Whether everything that names the version of a release names the same one."""

from __future__ import annotations

import re
import sys
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECTION = re.compile(r"^## (\S+)(?: \N{EN DASH} (.*))?$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LABEL = re.compile(r'org\.opencontainers\.image\.version="([^"]*)"')
_TAG = re.compile(r"^ *newTag: (\S+)", re.MULTILINE)
_CHART = re.compile(r"^(?:version|appVersion): (\S+)", re.MULTILINE)
_BASE = re.compile(r"^FROM python:(\d+)\.(\d+)", re.MULTILINE)


def read_version(root: Path) -> str:
    """The version in pyproject.toml."""
    with (root / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def find_problems(root: Path) -> Iterator[str]:
    """A sentence for each file below `root` that does not fit a release of the version in pyproject.toml."""
    version = read_version(root)
    section = _SECTION.search((root / "CHANGELOG.md").read_text("utf-8"))
    if section is None or section[1] != version:
        named = "no section" if section is None else f"the section {section[1]}"
        yield f"CHANGELOG.md begins with {named}, but the version in pyproject.toml is {version}"
    elif not _DATE.fullmatch(section[2] or ""):
        yield f"CHANGELOG.md: the section {version} has no date: write `## {version} \N{EN DASH} YYYY-MM-DD`"
    dockerfile = (root / "deploy" / "Dockerfile").read_text("utf-8")
    yield from _find_others("deploy/Dockerfile: the label of the version", _LABEL.findall(dockerfile), version)
    for overlay in sorted((root / "deploy" / "kubernetes" / "overlays").glob("*/kustomization.yaml")):
        name = overlay.relative_to(root)
        yield from _find_others(f"{name}: newTag", _TAG.findall(overlay.read_text("utf-8")), version)
    chart = set(_CHART.findall((root / "deploy" / "helm" / "metrics-worker" / "Chart.yaml").read_text("utf-8")))
    yield from _find_others("deploy/helm/metrics-worker/Chart.yaml: the version", sorted(chart), version)
    base = _BASE.search(dockerfile)
    if base is None or tuple(map(int, base.groups())) != sys.version_info[:2]:
        yield (
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, but not the image's, so the SBOM would list "
            "the packages of another Python"
        )


def _find_others(what: str, found: list[str], version: str) -> Iterator[str]:
    if found != [version]:
        yield f"{what} is {', '.join(found) or 'missing'}, but the version in pyproject.toml is {version}"
