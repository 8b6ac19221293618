"""The manifests of the kustomize tree, with a marker where an instance has the suffix of its name."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from deploy.checks import tools
from deploy.checks.manifests import KUBERNETES, Manifest, name_of, parse_manifests

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPONENTS = sorted(path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml"))
SUFFIX = "-suffix-of-the-instance"
"""Kustomize adds it to every name and to every reference to a name, as to those of `overlays/cells`."""
_HASH = re.compile(rf"(?<={SUFFIX})-[a-z0-9]{{10}}$")
_ORIGIN = "config.kubernetes.io/origin"
_LABEL = {"pairs": {"app.kubernetes.io/instance": f"metrics-worker{SUFFIX}"}, "includeSelectors": True}
_INSTANCE: dict[str, object] = {"nameSuffix": SUFFIX, "labels": [_LABEL]}


def read_manifests(components: Sequence[str]) -> dict[str, dict[str, Manifest]]:
    """The manifests of the base and of components, by `base` or component, and then by kind and name without `SUFFIX`.

    Those of the base are without what a component changes in them.
    """
    origins = {"buildMetadata": ["originAnnotations"]}
    found: dict[str, dict[str, Manifest]] = {"base": _by_name(build((), **_INSTANCE))}
    for name, manifest in _by_name(build(components, **_INSTANCE, **origins)).items():
        if name not in found["base"]:
            annotations = manifest["metadata"].pop("annotations")
            origin = yaml.safe_load(annotations.pop(_ORIGIN))  # of a generated ConfigMap: `configuredIn`
            component = Path(origin.get("path", origin.get("configuredIn"))).parent.name
            if annotations:
                manifest["metadata"]["annotations"] = annotations
            found.setdefault(component, {})[name] = manifest
    return found


def build(components: Sequence[str], **settings: object) -> list[Manifest]:
    """Build the base with components and with more `settings` of a kustomization."""
    with tempfile.TemporaryDirectory() as scratch:
        place = os.path.relpath(KUBERNETES, Path(scratch).resolve())
        kustomization = {
            "resources": [f"{place}/base"],
            "components": [f"{place}/components/{component}" for component in components],
            **settings,
        }
        (Path(scratch) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
        kustomize, _ = tools.ensure_go_tools()
        return parse_manifests(tools.run((kustomize, "build", scratch)))


def _by_name(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {name_of(manifest).replace(SUFFIX, ""): manifest for manifest in map(_remove_hash, manifests)}


def _remove_hash(node: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Remove the hash that Kustomize appends to the name of a ConfigMap, and to the references to it."""
    if isinstance(node, dict):
        return {key: _remove_hash(item) for key, item in node.items()}
    if isinstance(node, list):
        return [_remove_hash(item) for item in node]
    return _HASH.sub("", node) if isinstance(node, str) else node
