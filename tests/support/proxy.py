"""A TCP proxy on loopback that breaks connections where a test wants it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Self

from deploy.local.process import LOOPBACK

_CHUNK = 65_536


class FaultProxy:
    """Hands bytes on between clients and one server, until it is told otherwise.

    Attributes:
        port: where clients connect.
        cuts: how many connections it has cut.
        silent: while true nothing more is handed on, in either direction, and the connections stay open.
        held: set once something was not handed on because of that.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._lose_answer_after: int | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cuts = 0
        self.silent = False
        self.held = asyncio.Event()

    def lose_answer_after(self, sent_bytes: int) -> None:
        """Once a client has sent so many more bytes, throw the server's next answer away and cut the connection."""
        self._lose_answer_after = sent_bytes

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
            streams.append(far_writer)
            await _first_of(
                self._hand_on(reader, far_writer, self._sent), self._hand_on(far_reader, writer, self._answered)
            )
        except OSError:
            self.cuts += 1  # the server is away, or somebody hung up: the other side is told the same way
        finally:
            for stream in streams:
                stream.transport.abort()

    async def _hand_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_pass: Callable[[int], bool]
    ) -> None:
        while data := await reader.read(_CHUNK):
            if not may_pass(len(data)):
                self.cuts += 1
                return
            while self.silent:
                self.held.set()
                await asyncio.sleep(0.01)
            writer.write(data)
            await writer.drain()

    def _sent(self, size: int) -> bool:
        if self._lose_answer_after is not None:
            self._lose_answer_after = max(self._lose_answer_after - size, 0)
        return True

    def _answered(self, _size: int) -> bool:
        if self._lose_answer_after == 0:
            self._lose_answer_after = None
            return False
        return True


async def _first_of(*directions: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
