"""The faults of the proxy of which a test of the worker sees only one side, seen from client and server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from deploy.local.process import LOOPBACK
from tests.support.connection import Side
from tests.support.local import wait_until
from tests.support.proxy import FaultProxy


class Echo:
    """A server that sends back what it receives.

    Attributes:
        received: the bytes of all connections.
        open: number of open connections.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        with suppress(OSError):  # cut by the proxy
            while data := await reader.read(65_536):
                self.received += data
                writer.write(data)
        self.open -= 1
        writer.close()

    async def wait_until_closed(self) -> None:
        await asyncio.to_thread(wait_until, lambda: self.open == 0, "the server's connections are closed")


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def read(self) -> bytes:
        return await asyncio.wait_for(self._reader.read(65_536), 5)

    async def exchange(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.read()

    async def read_until_cut(self) -> bytes:
        received = b""
        with suppress(ConnectionResetError):
            while data := await self.read():
                received += data
        return received

    async def is_silent(self) -> bool:
        try:
            await asyncio.wait_for(self._reader.read(1), 0.3)
        except TimeoutError:
            return True
        return False


Connect = Callable[[], Awaitable[Client]]


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(echo.serve, LOOPBACK, 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


@pytest.fixture
async def connect(proxy: FaultProxy) -> AsyncIterator[Connect]:
    """Opens connections to the proxy, and closes them after the test."""
    clients: list[Client] = []

    async def open_client() -> Client:
        clients.append(Client(*await asyncio.open_connection(LOOPBACK, proxy.port)))
        return clients[-1]

    yield open_client
    for client in clients:
        client.writer.close()


@pytest.fixture
async def client(connect: Connect) -> Client:
    """A client that has sent "hello" and received it back."""
    client = await connect()
    assert await client.exchange(b"hello") == b"hello"
    return client


@pytest.mark.parametrize(("direction", "received"), [("to_server", b"123"), ("to_client", b"123456")])
async def test_cut_after_lets_that_many_bytes_pass_in_one_direction(
    proxy: FaultProxy, connect: Connect, client: Client, echo: Echo, direction: str, received: bytes
) -> None:
    getattr(proxy, direction).cut_after(3)
    client.writer.write(b"123456")

    assert b"123".startswith(await client.read_until_cut()), "a reset may discard what was on its way"
    await echo.wait_until_closed()
    assert echo.received == b"hello" + received
    assert getattr(proxy, direction).passed == len(b"hello123")
    assert await (await connect()).exchange(b"once only") == b"once only"


@pytest.mark.parametrize("kept", list(Side))
async def test_half_open_closes_one_side_and_keeps_the_other(
    proxy: FaultProxy, client: Client, echo: Echo, kept: Side
) -> None:
    proxy.half_open(kept)

    if kept is Side.SERVER:
        assert await client.read_until_cut() == b""
        assert echo.open == 1
    else:
        await echo.wait_until_closed()
        client.writer.write(b"lost")
        assert await client.is_silent()


async def test_lose_answer_cuts_after_the_server_has_answered(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    proxy.lose_answer_after(4)
    client.writer.write(b"work")

    assert await client.read_until_cut() == b""
    assert echo.received == b"hellowork"
