"""Bootstrap servers of which one accepts no connection or does not answer, as a machine without power."""

import asyncio
import gc
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Any

import aiokafka.conn
import pytest

from deploy.local.broker import KafkaServer
from tests.support.local import Topics
from worker.kafka import connection
from worker.kafka.connection import require_topics
from worker.kafka.target import KafkaTarget

_LISTEN = {"silent": 100, "dropping": 0}
"""Backlogs: the kernel accepts connections to a listener, or drops them because its backlog is full."""
_NAME = "kafka.test"

Listen = Callable[[str, str, int], tuple[str, int]]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listens without an answer, in one of the ways of `_LISTEN`, and returns the address."""
    with ExitStack() as stack:

        def listen(way: str, host: str, port: int) -> tuple[str, int]:
            listening = stack.enter_context(socket.create_server((host, port), backlog=_LISTEN[way]))
            for _ in range(0 if way == "silent" else 4):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listening.getsockname())
            address: tuple[str, int] = listening.getsockname()
            return address

        yield listen


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka tries the servers in a random order."""
    monkeypatch.setattr("aiokafka.conn.random.shuffle", lambda _: None)


@pytest.mark.parametrize("way", list(_LISTEN))
async def test_next_broker_is_used_after_one_without_an_answer(
    broker: KafkaServer, topics: Topics, listen: Listen, way: str
) -> None:
    host, port = listen(way, "127.0.0.1", 0)
    began = monotonic()
    assert await require_topics(KafkaTarget(f"{host}:{port},{broker.bootstrap_servers}"), [topics.events])
    assert monotonic() - began < connection.CONNECT_SECONDS / 2, "no time for a second one"


async def test_next_address_of_a_name_is_used_after_one_without_an_answer(
    broker: KafkaServer, topics: Topics, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = broker.bootstrap_servers.split(":")
    addresses = [listen("dropping", "127.0.0.2", int(port))[0], host]
    resolve = socket.getaddrinfo

    def resolve_name(name: str, *args: Any, **options: Any) -> list[Any]:
        names = addresses if name == _NAME else [name]
        return [found for each in names for found in resolve(each, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_name)
    assert await require_topics(KafkaTarget(f"{_NAME}:{port}"), [topics.events])


async def test_cancelled_connection_leaves_no_socket_open(broker: KafkaServer) -> None:
    host, port = broker.bootstrap_servers.split(":")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for steps in range(30):
            connection = aiokafka.conn.AIOKafkaConnection(host, int(port))
            connecting = asyncio.create_task(connection.connect())
            for _ in range(steps):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
            connection.close()
            await asyncio.sleep(0)  # the transport closes then
            del connection, connecting
            gc.collect()
    assert [str(one.message) for one in caught if issubclass(one.category, ResourceWarning)] == []


async def test_broker_is_used_whose_name_the_second_name_server_resolves(
    broker: KafkaServer, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """glibc waits 5 s for the first one (`timeout` in resolv.conf(5)), each time."""
    host, port = broker.bootstrap_servers.split(":")
    resolve = socket.getaddrinfo

    def resolve_name(name: str, *args: Any, **options: Any) -> list[Any]:
        if name == _NAME:
            sleep(5.1)
        return resolve(host if name == _NAME else name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_name)
    assert await require_topics(KafkaTarget(f"{_NAME}:{port}"), [topics.events])
