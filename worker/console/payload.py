"""The bytes of a record for a page: as text, as indented JSON, or as a dump."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from worker.core.errors import InvalidEvent
from worker.core.escaping import escape_bytes
from worker.events.tolerant_json import parse_json

MAX_BYTES = 65_536
"""Of a value that is shown; a download has all of it."""
_MAX_DUMP_BYTES = 2_048
_MAX_DEPTH = 16
"""Deeper documents are not indented: each level indents all lines in it."""
_MAX_LINES = 5_000
_DUMP_WIDTH = 8
"""Bytes on a line, so that it fits a phone."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_EMPTY = {"{": "}", "[": "]"}


class Payload(NamedTuple):
    """A value as a page shows it.

    Attributes:
        size: bytes of the value.
        text: on one line, with escapes; the first part of a long value.
        json: indented lines; None if it is no JSON, or too large or too deep to be read so.
        dump: lines of a hexadecimal dump; None if it is text.
    """

    size: int
    text: str
    json: list[str] | None
    dump: list[str] | None


def present(value: bytes) -> Payload:
    """Prepare a value."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return Payload(len(value), escape_bytes(value, MAX_BYTES), None, _dump(value[:_MAX_DUMP_BYTES]))
    return Payload(len(value), escape_bytes(value, MAX_BYTES), indent(split(text)) if is_json(value) else None, None)


def is_json(value: bytes) -> bool:
    """Whether a value is JSON, and not too large to be indented."""
    if not 0 < len(value) <= MAX_BYTES:
        return False
    try:
        parse_json(value)
    except InvalidEvent:
        return False
    return True


def split(text: str) -> list[str]:
    """The parts of a document: brackets, commas, colons, strings, and other values."""
    return _TOKEN.findall(text)


def indent(parts: Iterable[str]) -> list[str] | None:
    """The lines of a document; None if it is too deep or too long.

    No part changes, so that a number keeps its digits, and a repeated name is shown.
    """
    lines, line, depth, before = [], "", 0, ""
    for part in parts:
        is_empty = before in _EMPTY and part == _EMPTY[before]
        if not is_empty and (part in "]}" or before in _EMPTY or before == ","):
            depth += -1 if part in "]}" else before in _EMPTY
            lines.append(line)
            line = "  " * depth
        if depth > _MAX_DEPTH or len(lines) > _MAX_LINES:
            return None
        line += _escape(part) + " " * (part == ":")
        before = part
    return [*lines, line]


def _escape(part: str) -> str:
    """Characters that are not printable as JSON escapes them, so that the document stays what it is."""
    return "".join(one if one.isprintable() else _json_escape(one) for one in part)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _dump(value: bytes) -> list[str]:
    return [
        f"{start:06x}  {part.hex(' '):<{3 * _DUMP_WIDTH}} {_printable(part)}"
        for start in range(0, len(value), _DUMP_WIDTH)
        for part in [value[start : start + _DUMP_WIDTH]]
    ]


def _printable(part: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
