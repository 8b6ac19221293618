"""Reads the lines of a file, a pipe or a terminal without blocking the event loop."""

import asyncio
from collections.abc import AsyncIterator
from io import BufferedIOBase

_CHUNK_BYTES = 65_536


async def stream_lines(file: BufferedIOBase) -> AsyncIterator[bytes]:
    """Yield each line of `file` without its line feed, as soon as it arrives."""
    rest = b""
    while chunk := await _read_chunk(file):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    yield rest


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
