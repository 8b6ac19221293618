"""Reads lines of any length in bounded memory."""

from collections.abc import Iterator
from io import BufferedIOBase

from worker.core.line_splitter import Line, LineSplitter

_CHUNK_BYTES = 65_536


def read_lines(file: BufferedIOBase, max_bytes: int) -> Iterator[Line]:
    """Read the lines that `produce` would send, that is those that are not blank; `file` may be endless."""
    splitter = LineSplitter(max_bytes)
    while chunk := file.read1(_CHUNK_BYTES):
        yield from filter(_is_not_blank, splitter.split(chunk))
    yield from filter(_is_not_blank, splitter.finish())


def _is_not_blank(line: Line) -> bool:
    return line.content is None or bool(line.content.strip())
