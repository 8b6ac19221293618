"""Reads lines of any length in bounded memory."""

from collections.abc import Iterator
from typing import IO, NamedTuple

_CHUNK_BYTES = 65_536


class Line(NamedTuple):
    """A line of a file, without its line feed: `number` is from 1, `content` is None if it is longer than allowed."""

    number: int
    content: bytes | None
    size: int


def read_lines(file: IO[bytes], max_bytes: int) -> Iterator[Line]:
    """Read the lines that `produce` would send, that is those that are not blank; `file` may be endless."""
    number = 0
    while content := file.readline(max_bytes + 1):
        number += 1
        if content.endswith(b"\n"):
            content = content[:-1]
        elif len(content) > max_bytes:
            yield Line(number, None, len(content) + _skip_to_line_end(file))
            continue
        if content.strip():
            yield Line(number, content, len(content))


def _skip_to_line_end(file: IO[bytes]) -> int:
    """Skip the rest of the line; returns its bytes without the line feed."""
    skipped = 0
    while chunk := file.readline(_CHUNK_BYTES):
        if chunk.endswith(b"\n"):
            return skipped + len(chunk) - 1
        skipped += len(chunk)
    return skipped
