"""JSON without the values that a rule masks."""

import json
from collections.abc import Callable, Iterable, Iterator

MASKED = "•••"
"""Stands for a value; its length says nothing about that of the value."""

_DEPTH_CHANGES = {"{": 1, "[": 1, "}": -1, "]": -1}


def mask_values(parts: Iterable[str], is_masked: Callable[[tuple[str, ...]], bool]) -> Iterator[str]:
    """The parts of a JSON document, in which `MASKED` stands for each value whose path is masked.

    The path has the names of the fields around a value, and its own. A repeated name is masked each time.
    """
    path: list[str | None] = []  # an entry for each object and array that is open; None in an array
    is_name = False
    remaining = iter(parts)
    for part in remaining:
        if part in "}]":
            path.pop()
        elif part == ",":
            is_name = path[-1] is not None
        elif is_name and part != ":":
            path[-1], is_name = json.loads(part), False
        elif part != ":" and is_masked(tuple(name for name in path if name is not None)):
            _skip_value(part, remaining)
            yield f'"{MASKED}"'
            continue
        elif part in "{[":
            path.append("" if part == "{" else None)
            is_name = part == "{"
        yield part


def _skip_value(part: str, remaining: Iterator[str]) -> None:
    """Read on to the end of the value that begins with `part`."""
    depth = _DEPTH_CHANGES.get(part, 0)
    while depth:
        depth += _DEPTH_CHANGES.get(next(remaining), 0)
