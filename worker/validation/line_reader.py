"""Lines of a file of any length, in bounded memory."""

from collections.abc import Iterator
from typing import IO, NamedTuple

_CHUNK_BYTES = 65_536


class Line(NamedTuple):
    """One line.

    Attributes:
        number: of the line, from 1; lines without content count.
        content: without its line feed; None where it is longer than allowed.
        size: bytes, without the line feed.
    """

    number: int
    content: bytes | None
    size: int


def read_lines(file: IO[bytes], max_bytes: int) -> Iterator[Line]:
    """The lines of `file` that are not blank, as `produce` would send them; of those that are too long only the size.

    Args:
        file: opened for bytes; it may have no end.
        max_bytes: longest line whose content is kept.
    """
    number = 0
    while content := file.readline(max_bytes + 1):
        number += 1
        if content[-1] == 10:
            content = content[:-1]
        elif len(content) > max_bytes:
            yield Line(number, None, len(content) + _skip(file))
            continue
        if content.strip():
            yield Line(number, content, len(content))


def _skip(file: IO[bytes]) -> int:
    """Read on to the end of the line; how many bytes that were, the line feed not counted."""
    skipped = 0
    while chunk := file.readline(_CHUNK_BYTES):
        if chunk[-1] == 10:
            return skipped + len(chunk) - 1
        skipped += len(chunk)
    return skipped
