"""Cuts bytes, as they arrive, into lines, in bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple


class Line(NamedTuple):
    """A line without its line feed: `number` is from 1, `content` is None if it is longer than allowed."""

    number: int
    content: bytes | None
    size: int


class LineSplitter:
    """Cuts chunks into lines; of a line that is longer than `max_bytes` only the size is kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._number = 0
        self._size = 0
        self._content = bytearray()

    def split(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that end in `chunk`; the rest of it is the beginning of the next."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._append(end)
            yield self._end_line()
        self._append(rest)

    def finish(self) -> Iterator[Line]:
        """Yield the last line, if it does not end with a line feed."""
        if self._size:
            yield self._end_line()

    def _append(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._max_bytes:
            self._content += part
        else:
            self._content.clear()

    def _end_line(self) -> Line:
        self._number += 1
        line = Line(self._number, bytes(self._content) if self._size <= self._max_bytes else None, self._size)
        self._content.clear()
        self._size = 0
        return line
