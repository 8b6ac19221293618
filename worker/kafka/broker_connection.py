"""Connections to brokers that give up on a silent broker or address soon, and try the next one."""

import asyncio
from ipaddress import ip_address
from typing import Any

import aiokafka.conn
from aiokafka.conn import AIOKafkaConnection

_SECONDS = 6.0
"""The time-out of each step: to resolve the name and connect, to answer, to authenticate. It is longer than the 5 s
after which glibc asks the next name server. Two silent brokers leave time for the third one within
`worker.kafka.connection.CONNECT_SECONDS`."""
_NEXT_ADDRESS_SECONDS = 1.0
"""After this time the next address of the name is tried beside the one before."""


class _BrokerConnection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka ships no types
    """aiokafka waits for each broker as long as for an answer (40 s), and only for the first silent address of a name.

    Meanwhile the client makes no other connection. It has no option for either.
    """

    _request_timeout: float
    _loop: Any

    async def connect(self) -> Any:  # noqa: ANN401 - aiokafka's own
        """Connect and authenticate; overrides aiokafka's method."""
        request_timeout, loop = self._request_timeout, self._loop
        self._request_timeout, self._loop = min(request_timeout, _SECONDS), _HappyEyeballsLoop(loop)
        try:
            return await super().connect()
        finally:
            self._request_timeout, self._loop = request_timeout, loop


class _HappyEyeballsLoop:
    """An event loop whose connections try all addresses of a name."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def create_connection(self, factory: Any, host: str, port: int, **options: Any) -> Any:  # noqa: ANN401
        """As `asyncio` has it. An address is not raced: a race that is cancelled may leave an open socket behind."""
        if not _is_address(host):
            options["happy_eyeballs_delay"] = _NEXT_ADDRESS_SECONDS
        return await self._loop.create_connection(factory, host, port, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a loop
        return getattr(self._loop, name)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def install() -> None:
    """Let every client of aiokafka connect in this way."""
    aiokafka.conn.AIOKafkaConnection = _BrokerConnection
