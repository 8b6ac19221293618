"""Lines of a file, a pipe or a terminal, for a program with an event loop."""

import asyncio
from collections.abc import AsyncIterator
from io import BufferedIOBase

_CHUNK_BYTES = 65_536


async def stream_lines(file: BufferedIOBase) -> AsyncIterator[bytes]:
    """The lines of `file` without their line feeds, each as soon as it is there."""
    rest = b""
    async for chunk in _chunks(file):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    yield rest


async def _chunks(file: BufferedIOBase) -> AsyncIterator[bytes]:
    """What can be read from `file`, without blocking the event loop while a pipe or a terminal has nothing.

    No thread reads, because a thread that waits for input cannot be interrupted.
    """
    while True:
        await _readable(file)
        chunk = file.read1(_CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


async def _readable(file: BufferedIOBase) -> None:
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        descriptor = file.fileno()
        loop.add_reader(descriptor, readable.set)
    except OSError:  # a regular file, or no file at all: what is there can be read at once
        await asyncio.sleep(0)
        return
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
