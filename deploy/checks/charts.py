"""Render and lint the Helm chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploy.checks import tools
from deploy.checks.manifests import parse_manifests
from deploy.local.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.checks.manifests import Manifest

CHART = REPOSITORY / "deploy" / "helm" / "metrics-worker"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
EVERYTHING: Mapping[str, Any] = {
    "keda": {"enabled": True},
    "externalSecrets": {"enabled": True},
    "monitoring": {"enabled": True, "namespace": "monitoring"},
}
"""The parts that are off by default."""


def render_chart(helm: Path, release: str, values: Mapping[str, Any], *files: Path, namespace: str) -> list[Manifest]:
    """The manifests of a release.

    Raises:
        ToolFailedError: the chart refuses the values; the message ends with the reason.
    """
    options = [word for file in files for word in ("--values", file)]
    command = (helm, "template", release, CHART, "--namespace", namespace, *options, "--values", "-")
    return parse_manifests(tools.run(command, stdin=json.dumps(values)))


def render_everything(helm: Path) -> list[Manifest]:
    """The manifests of a release with every part, of the values of the example `production`.

    Raises:
        ToolFailedError: the chart refuses them.
    """
    production = CHART / "examples" / "production.yaml"
    return render_chart(helm, "metrics-worker", EVERYTHING, production, namespace="metrics")


def lint_chart(helm: Path) -> str:
    """Lint the chart with the values of each example, strictly.

    Raises:
        ToolFailedError: a warning or an error.
    """
    for file in EXAMPLES:
        tools.run((helm, "lint", "--strict", "--quiet", CHART, "--values", file))
    return ", ".join(file.stem for file in EXAMPLES)
