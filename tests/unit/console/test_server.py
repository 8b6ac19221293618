"""The HTTP server of the console on a real socket, with clients that are no browsers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.console import ConsoleHarness
from tests.unit.replay.harness import failed_metric, topic_of
from worker.console import server
from worker.console.identity import Identity, Role

HEAD = b"GET /history HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = (
    b"POST /actions HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: same-origin\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n"
)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serve_console() -> AsyncIterator[int]:
    """The port of a console."""
    harness = ConsoleHarness(await topic_of(failed_metric("a")), identity=Identity("ana", Role.EDITOR))
    await harness.check()
    with server.listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve(harness.app, listening))
        try:
            yield listening.getsockname()[1]
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def send(port: int, data: bytes) -> Streams:
    """A connection on which `data` was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


async def read_status(streams: Streams) -> bytes:
    """The first line of the answer; empty if the connection ends before."""
    try:
        return await asyncio.wait_for(streams[0].readline(), 20)
    except ConnectionResetError:
        return b""
    finally:
        streams[1].close()


@pytest.mark.parametrize("begun", [b"", HEAD, POST], ids=["nothing", "half a head", "no body"])
async def test_clients_that_send_no_whole_request_keep_nobody_out(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 4)  # the one that asks is the fourth
    async with serve_console() as port:
        silent = [await send(port, begun) for _ in range(3)]
        assert await read_status(await send(port, HEAD + b"\r\n")) == b"HTTP/1.1 503 Service Unavailable\r\n"
        assert [await read_status(each) for each in silent] == [b""] * 3
        assert await read_status(await send(port, HEAD + b"\r\n")) == b"HTTP/1.1 200 OK\r\n"


async def test_each_request_of_a_connection_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_REQUEST_SECONDS", 1.5)
    async with serve_console() as port:
        reader, writer = await send(port, b"")
        await asyncio.sleep(0.9)
        writer.write(POST)
        await asyncio.sleep(0.9)
        writer.write(b"x" * 100)
        assert await read_status((reader, writer)) == b"HTTP/1.1 403 Forbidden\r\n"


async def test_connection_beyond_twice_the_limit_is_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 1)
    async with serve_console() as port:
        kept = [await send(port, b"") for _ in range(2)]
        assert await read_status(await send(port, b"")) == b""
        for _, writer in kept:
            writer.close()


async def test_address_of_twenty_thousand_bytes_in_pieces_is_read() -> None:
    """A long reason and a long expression make such an address, and a network cuts it in pieces."""
    async with serve_console() as port:
        streams = await send(port, b"GET /actions/new?do=discard&letter=0:0&reason=" + b"%F0%9F%92%A5" * 1_700)
        await asyncio.sleep(0.05)
        streams[1].write(b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert await read_status(streams) == b"HTTP/1.1 200 OK\r\n"


async def test_client_that_leaves_in_a_form_is_no_error_of_the_program(caplog: pytest.LogCaptureFixture) -> None:
    async with serve_console() as port:
        with caplog.at_level(logging.WARNING):
            _, writer = await send(port, POST + b"do=disc")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            assert await read_status(await send(port, HEAD + b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
            await asyncio.sleep(0.05)
    assert [record.getMessage() for record in caplog.records] == []
