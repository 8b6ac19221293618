"""Reads the lines of a file, a pipe or a terminal without blocking the event loop."""

import asyncio
from collections.abc import AsyncIterator
from io import BufferedIOBase

from worker.core.line_splitter import Line, LineSplitter

_CHUNK_BYTES = 65_536


async def stream_lines(file: BufferedIOBase, max_bytes: int) -> AsyncIterator[Line]:
    """Yield each line of `file` as soon as it arrives, also blank ones; without the content of longer lines."""
    splitter = LineSplitter(max_bytes)
    while chunk := await _read_chunk(file):
        for line in splitter.split(chunk):
            yield line
    for line in splitter.finish():
        yield line


async def _read_chunk(file: BufferedIOBase) -> bytes:
    """Wait until `file` is readable, and read. No thread reads: a thread that waits for input cannot be interrupted."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        descriptor = file.fileno()
        loop.add_reader(descriptor, readable.set)
    except OSError:  # a regular file, or an object without a descriptor, is always readable
        await asyncio.sleep(0)
    else:
        try:
            await readable.wait()
        finally:
            loop.remove_reader(descriptor)
    return file.read1(_CHUNK_BYTES)
