"""A TCP proxy on loopback that breaks connections on demand."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Self

from deploy.local.process import LOOPBACK
from tests.support.connection import Connection, Direction, Side

_CHUNK = 65_536
_POLL_SECONDS = 0.01


class FaultProxy:
    """Forwards bytes between clients and one server, and causes faults.

    Its methods and attributes may be used from any thread; they take effect within some milliseconds.

    Attributes:
        port: where clients connect.
        to_server, to_client: the two directions.
        swallow: a connection whose client sends data for which this is true becomes silent in both directions, until
            this is None again.
        cuts: number of connections that were cut.
        refused: number of connections that were refused.
        held: set once data was not forwarded because of silence.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._lose_answer_after: int | None = None
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self.port = 0
        self.to_server, self.to_client = Direction(), Direction()
        self._refusing = False
        self.swallow: Callable[[bytes], bool] | None = None
        self.cuts = 0
        self.refused = 0
        self.held = asyncio.Event()

    @property
    def silent(self) -> bool:
        """While true it accepts connections, and forwards nothing in either direction."""
        return self.to_server.silent and self.to_client.silent

    @silent.setter
    def silent(self, silent: bool) -> None:
        self.to_server.silent = self.to_client.silent = silent

    @property
    def unreachable(self) -> bool:
        """While true existing connections are cut, and new ones refused, as if no server listened."""
        return self._refusing

    @unreachable.setter
    def unreachable(self, unreachable: bool) -> None:
        self._refusing = unreachable
        if unreachable:
            self.cut()

    def lose_answer_after(self, sent_bytes: int) -> None:
        """After a client has sent `sent_bytes` more, discard the server's next answer and cut the connection."""
        self._lose_answer_after = sent_bytes

    def cut(self) -> None:
        """Cut every connection on both sides."""
        self._call_in_loop(self._cut)

    def half_open(self, kept: Side) -> None:
        """Close one side of every connection; the `kept` side stays open, and what it sends is discarded."""
        self._call_in_loop(lambda: self._half_open(kept))

    def _call_in_loop(self, action: Callable[[], object]) -> None:
        if self._loop is None:
            raise RuntimeError("the proxy does not run")
        self._loop.call_soon_threadsafe(action)

    def _cut(self) -> None:
        for connection in self._connections:
            self.cuts += 1
            connection.abort()

    def _half_open(self, kept: Side) -> None:
        for connection in self._connections:
            connection.half_open(kept)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
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
        connection = Connection(reader, writer)
        self._connections.add(connection)
        try:
            if self._refusing:
                self.refused += 1
                return
            connection.add_server(*await asyncio.open_connection(LOOPBACK, self._target_port))
            await self._forward_both(connection)
        except OSError:
            self.cuts += 1  # the server is unreachable, or one side has closed: close the other side too
        finally:
            self._connections.discard(connection)
            connection.abort()

    async def _forward_both(self, connection: Connection) -> None:
        client, server = connection.streams[Side.CLIENT], connection.streams[Side.SERVER]
        try:
            await _wait_for_first(
                self._forward(connection, client[0], server[1], self.to_server, self._on_request),
                self._forward(connection, server[0], client[1], self.to_client, self._on_answer),
            )
        except OSError:
            if connection.kept is None:
                raise
        if connection.kept is not None:
            while await connection.streams[connection.kept][0].read(_CHUNK):
                pass  # discarded

    async def _forward(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
        may_pass: Callable[[Connection, bytes], bool],
    ) -> None:
        while data := await reader.read(_CHUNK):
            if not may_pass(connection, data):
                self.cuts += 1
                return
            while direction.silent or (connection.swallowed and self.swallow is not None):
                self.held.set()
                await asyncio.sleep(_POLL_SECONDS)
            allowed = direction.take_allowance(len(data))
            writer.write(data[:allowed])
            await writer.drain()
            direction.passed += allowed
            if allowed < len(data):
                self.cuts += 1
                return

    def _on_request(self, connection: Connection, data: bytes) -> bool:
        if self._lose_answer_after is not None:
            self._lose_answer_after = max(self._lose_answer_after - len(data), 0)
        connection.swallowed = self.swallow is not None and (connection.swallowed or self.swallow(data))
        return True

    def _on_answer(self, _connection: Connection, _data: bytes) -> bool:
        if self._lose_answer_after == 0:
            self._lose_answer_after = None
            return False
        return True


@contextmanager
def run_in_thread(proxy: FaultProxy) -> Iterator[FaultProxy]:
    """Run `proxy` in an event loop of its own thread, for synchronous code."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with proxy:
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="proxy", daemon=True)
    thread.start()
    try:
        if not started.wait(10):
            raise TimeoutError("the proxy does not listen")
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


async def _wait_for_first(*directions: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
