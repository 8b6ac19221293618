"""YAML with Helm's expressions: ordinary values, and the nodes below where a template differs from a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Node = Any
"""A map, a list or a scalar of YAML, which may contain the classes below."""


@dataclass(frozen=True)
class Text:
    """A scalar that is written unquoted, with its expressions: `metrics-worker{{ … }}`."""

    text: str


@dataclass(frozen=True)
class Block:
    """A map or a list that the pipeline `source` prints as YAML."""

    source: str


@dataclass(frozen=True)
class When:
    """An entry of a map or an item of a list that is there if `condition` holds; inside it `.` is unchanged."""

    condition: str
    node: Node


@dataclass(frozen=True)
class Either:
    """What `value` prints if it is not empty, otherwise `node`."""

    value: str
    node: Node


@dataclass(frozen=True)
class Spread:
    """Further entries of a map (as key and as value) or items of a list: those of `source`, if `condition` holds."""

    source: str
    condition: str | None = None


def expression(text: str) -> Text:
    """A scalar that is one expression."""
    return Text(f"{{{{ {text} }}}}")


def to_template(node: Mapping[str, Node]) -> str:
    """The text of a template that renders `node`."""
    return "\n".join([*_map_lines(node, 0), ""])


def _map_lines(entries: Mapping[str, Node], indent: int) -> Iterator[str]:
    for key, node in entries.items():
        if isinstance(node, Spread):
            yield from _spread_lines(node, indent)
        else:
            yield from _entry_lines(f"{_scalar(key)}:", node, indent)


def _entry_lines(key: str, node: Node, indent: int) -> Iterator[str]:
    """The lines of one entry of a map, with `key` before its value."""
    space = " " * indent
    if isinstance(node, When):
        yield from _if(node.condition, _entry_lines(key, node.node, indent), indent)
    elif isinstance(node, Either):
        value = _entry_lines(key, Block(f"toYaml {node.value}"), indent)
        lines = [*value, f"{space}{{{{- else }}}}", *_entry_lines(key, node.node, indent)]
        yield from _if(node.value, lines, indent)
    elif isinstance(node, Block):
        yield f"{space}{key}"
        yield f"{space}  {{{{- {node.source} | nindent {indent + 2} }}}}"
    elif isinstance(node, dict) and node:
        yield f"{space}{key}"
        yield from _map_lines(node, indent + 2)
    elif isinstance(node, list) and node:
        yield f"{space}{key}"
        yield from _list_lines(node, indent + 2)
    else:
        yield f"{space}{key} {_scalar(node)}"


def _list_lines(items: Sequence[Node], indent: int) -> Iterator[str]:
    space = " " * indent
    for item in items:
        if isinstance(item, Spread):
            yield from _spread_lines(item, indent)
        elif isinstance(item, When):
            yield from _if(item.condition, _list_lines([item.node], indent), indent)
        elif isinstance(item, dict) and item:
            plain_first = dict(sorted(item.items(), key=lambda entry: isinstance(entry[1], (When, Either, Spread))))
            first, *rest = _map_lines(plain_first, indent + 2)
            yield f"{space}- {first.strip()}"
            yield from rest
        else:
            yield f"{space}- {_scalar(item)}"


def _spread_lines(node: Spread, indent: int) -> Iterator[str]:
    line = f"{' ' * indent}{{{{- {node.source} | nindent {indent} }}}}"
    yield from [line] if node.condition is None else _if(node.condition, [line], indent)


def _if(condition: str, lines: Iterable[str], indent: int) -> Iterator[str]:
    space = " " * indent
    yield f"{space}{{{{- if {condition} }}}}"
    yield from lines
    yield f"{space}{{{{- end }}}}"


def _scalar(value: Node) -> str:
    if isinstance(value, Text):
        return value.text
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
