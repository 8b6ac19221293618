"""Render what Kustomize builds, the overlays and the monitoring, and validate their manifests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from deploy.checks import tools
from deploy.local.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
BUILDS = {**{name: KUBERNETES / "overlays" / name for name in OVERLAYS}, "monitoring": KUBERNETES / "monitoring"}
"""The folders that are applied, by name."""
KUBERNETES_VERSIONS = ("1.29", "1.37")
"""The oldest that accepts the manifests, and the newest whose schema is known."""
PROFILE_VERSION = "v1.33"
Manifest = dict[str, Any]


def render(kustomize: Path, name: str) -> str:
    """Render the manifests of one of `BUILDS` as YAML.

    Raises:
        ToolError: kustomize failed; the message ends with its output.
    """
    return tools.run((kustomize, "build", BUILDS[name]))


def parse_manifests(text: str) -> list[Manifest]:
    """Parse the manifests in a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def name_of(manifest: Manifest) -> str:
    """Return `kind/name`."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def schema_errors(manifests: Iterable[Manifest], crd_files: Iterable[Path]) -> Iterator[str]:
    """Validate manifests as an API server does: unknown fields, missing fields and wrong types are errors.

    A kind without a schema is also an error.
    """
    custom = dict(_custom_schemas(crd_files))
    for manifest in manifests:
        schema = custom.get((manifest["apiVersion"], manifest["kind"]))
        if schema is not None:
            for error in Draft202012Validator(schema).iter_errors(manifest):
                yield f"{name_of(manifest)}: {error.json_path}: {error.message[:300]}"
            continue
        for version in KUBERNETES_VERSIONS:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name_of(manifest)}: Kubernetes {version}: {error.message[:300]}"
            except kubernetes_validate.SchemaNotFoundError as error:
                yield f"{name_of(manifest)}: Kubernetes {version}: no schema: {error}"


def _custom_schemas(crd_files: Iterable[Path]) -> Iterator[tuple[tuple[str, str], Manifest]]:
    for path in crd_files:
        for definition in parse_manifests(path.read_text("utf-8")):
            spec = definition["spec"]
            for version in spec["versions"]:
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                yield key, _forbid_unknown_fields(version["schema"]["openAPIV3Schema"])


def _forbid_unknown_fields(schema: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the schema without additional fields, as an API server with `--validate=strict` applies it."""
    if isinstance(schema, list):
        return [_forbid_unknown_fields(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _forbid_unknown_fields(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        at_root = {"apiVersion", "kind", "metadata"} <= schema["properties"].keys()
        if at_root:
            strict["properties"]["metadata"] = {"type": "object"}
        strict["additionalProperties"] = False
    return strict


def pod_templates(manifests: Iterable[Manifest]) -> dict[str, Manifest]:
    """Return every Pod template by the kind and name of its controller."""
    templates = {}
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "containers" in spec.get("template", {}).get("spec", {}):
            templates[name_of(manifest)] = spec["template"]
    return templates


def pod_security_violations(podsecurity: Path, templates: dict[str, Manifest]) -> list[str]:
    """Return the reasons for which the restricted profile of Pod Security rejects each template.

    Raises:
        ToolError: the podsecurity program failed.
    """
    pods = [{"name": name, "metadata": pod["metadata"], "spec": pod["spec"]} for name, pod in templates.items()]
    results = json.loads(tools.run((podsecurity, PROFILE_VERSION), stdin=json.dumps(pods)))
    return [f"{result['name']}: {', '.join(result['reasons'])}" for result in results if not result["allowed"]]
