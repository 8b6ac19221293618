"""The overlays as a cluster would get them, and what judges them."""

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
KUBERNETES_VERSION = "1.33"
PROFILE_VERSION = "v1.33"
Manifest = dict[str, Any]


def render(kustomize: Path, overlay: str) -> str:
    """The manifests of an overlay as YAML.

    Raises:
        ToolMissingError: kustomize refused it; the text says why.
    """
    return tools.run((kustomize, "build", KUBERNETES / "overlays" / overlay))


def parse_manifests(text: str) -> list[Manifest]:
    """The manifests in a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def name_of(manifest: Manifest) -> str:
    """Kind and name."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def schema_errors(manifests: Iterable[Manifest], crd_files: Iterable[Path]) -> Iterator[str]:
    """What no API server would take: a field that its kind does not have, one that is missing or of a wrong type.

    A kind without a schema is an error too.
    """
    custom = dict(_custom_schemas(crd_files))
    for manifest in manifests:
        schema = custom.get((manifest["apiVersion"], manifest["kind"]))
        if schema is not None:
            for error in Draft202012Validator(schema).iter_errors(manifest):
                yield f"{name_of(manifest)}: {error.json_path}: {error.message[:300]}"
            continue
        try:
            kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name_of(manifest)}: {error.message[:300]}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{name_of(manifest)}: no schema: {error}"


def _custom_schemas(crd_files: Iterable[Path]) -> Iterator[tuple[tuple[str, str], Manifest]]:
    for path in crd_files:
        for definition in parse_manifests(path.read_text("utf-8")):
            spec = definition["spec"]
            for version in spec["versions"]:
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                yield key, _forbid_unknown_fields(version["schema"]["openAPIV3Schema"])


def _forbid_unknown_fields(schema: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The same schema refusing fields that it does not name, as an API server with `--validate=strict` does."""
    if isinstance(schema, list):
        return [_forbid_unknown_fields(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _forbid_unknown_fields(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not free:
        at_root = {"apiVersion", "kind", "metadata"} <= schema["properties"].keys()
        if at_root:
            strict["properties"]["metadata"] = {"type": "object"}
        strict["additionalProperties"] = False
    return strict


def pod_templates(manifests: Iterable[Manifest]) -> dict[str, Manifest]:
    """The template of each kind of pod, by the kind and name of what makes it."""
    templates = {}
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "containers" in spec.get("template", {}).get("spec", {}):
            templates[name_of(manifest)] = spec["template"]
    return templates


def pod_security_violations(podsecurity: Path, templates: dict[str, Manifest]) -> list[str]:
    """What the restricted profile of Pod Security refuses of each, in its own words.

    Raises:
        ToolMissingError: the program failed.
    """
    pods = [{"name": name, "metadata": pod["metadata"], "spec": pod["spec"]} for name, pod in templates.items()]
    verdicts = json.loads(tools.run((podsecurity, PROFILE_VERSION), stdin=json.dumps(pods)))
    return [f"{verdict['name']}: {', '.join(verdict['reasons'])}" for verdict in verdicts if not verdict["allowed"]]
