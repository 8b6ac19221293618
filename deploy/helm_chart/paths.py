"""Change a manifest at a path such as `spec.template.spec.containers.[0].image` or `spec.triggers.[type=kafka]`.

The form is that of `fieldPaths` in a kustomization.
"""

from __future__ import annotations

from typing import Any

from deploy.helm_chart.template_yaml import Node, Spread, When


def get_at(manifest: Node, path: str) -> Node:
    """The value at `path`. Raises LookupError if there is none."""
    node = manifest
    for step in filter(None, path.split(".")):
        try:
            node = node[_key(node, step)]
        except (LookupError, TypeError):
            raise LookupError(f"{path}: nothing at {step}") from None
    return node


def set_at(manifest: Node, path: str, value: Node) -> None:
    """Set the value at `path`, whose parent must be there."""
    parent, _, last = path.rpartition(".")
    container = get_at(manifest, parent)
    container[_key(container, last)] = value


def condition_at(manifest: Node, path: str, condition: str) -> None:
    """Keep what is at `path` only if `condition` holds."""
    set_at(manifest, path, When(condition, get_at(manifest, path)))


def extend_at(manifest: Node, path: str, source: str, condition: str | None) -> None:
    """Add the entries that `source` prints to the map or the list at `path`, which may be missing.

    Only if `condition` holds, which is one word.
    """
    parent, _, last = path.rpartition(".")
    container = get_at(manifest, parent)
    more = Spread(source, condition)
    if last not in container and condition:
        container[last] = When(condition, {more: more})
    elif isinstance(container[last], When) and condition:
        found = container[last]
        container[last] = When(f"or {found.condition} {condition}", {**found.node, more: more})
    elif isinstance(container[last], list):
        container[last].append(more)
    else:
        container[last][more] = more


def _key(node: Any, step: str) -> Any:  # noqa: ANN401 - a key of a map or an index of a list
    """The key or the index of one step of a path: `[0]` or `[name=value]` in a list."""
    if not (step.startswith("[") and step.endswith("]")):
        return step
    name, found, value = step[1:-1].partition("=")
    if not found:
        return int(name)
    for index, item in enumerate(node):
        if isinstance(item, dict) and item.get(name) == value:
            return index
    raise LookupError(step)
