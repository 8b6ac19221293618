"""The local stack: broker, ClickHouse engine, topics and tables, and the settings with which a worker finds them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import KafkaServer, TansuBroker, create_topics
from deploy.local.engine_process import EngineProcess
from deploy.local.environment import environment_without_settings
from deploy.local.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.local.cluster import Cluster

BUILT_IN_DATABASE = "default"
"""The engine creates it, with the database engine Overlay, which rejects refreshable materialized views."""
DEFAULT_DATABASE = "metrics"
MIGRATE_TIMEOUT_SECONDS = 60.0
BROKERS: dict[str, Callable[[Path], KafkaServer]] = {"tansu": TansuBroker, "kafka": ApacheKafka}
"""Constructors of brokers by name; each takes the folder for the broker's files."""


class MigrationFailedError(RuntimeError):
    """`python -m worker migrate` failed; the message has its exit code and output."""


class Stack:
    """A broker and a ClickHouse engine; use it as a context manager, asynchronous in a running event loop.

    Args:
        directory: for the servers' files.
        broker: not yet started; Tansu by default.
        cluster: not yet started, replaces the single engine. The stack uses its database; `engine` is its first one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        broker: KafkaServer | None = None,
        cluster: Cluster | None = None,
        topic: str = "execution-completed",
        partitions: int = 4,
        dlq_partitions: int = 1,
        database: str = DEFAULT_DATABASE,
        migrate: bool = True,
    ) -> None:
        self.broker = broker or TansuBroker(directory)
        self.engine = cluster.engines[0] if cluster else EngineProcess(directory)
        self.topic = topic
        self.dlq_topic = f"{topic}.dlq"
        self.database = cluster.database if cluster else database
        self._cluster = cluster
        self._clickhouse = cluster or self.engine
        self._partitions = {self.topic: partitions, self.dlq_topic: dlq_partitions}
        self._migrate = migrate

    def environment(self) -> dict[str, str]:
        """Return the settings that connect a worker to this stack."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "KAFKA_TOPIC": self.topic,
            "KAFKA_DLQ_TOPIC": self.dlq_topic,
            "KAFKA_PRODUCER_IDEMPOTENCE": str(self.broker.idempotence).lower(),
            "CLICKHOUSE_HOST": self.engine.host,
            "CLICKHOUSE_PORT": str(self.engine.port),
            "CLICKHOUSE_DATABASE": self.database,
            "CLICKHOUSE_USER": self.engine.user,
            **({"CLICKHOUSE_CLUSTER": self._cluster.name} if self._cluster else {}),
            # Tansu admits the first member of a group after half a session timeout.
            "KAFKA_SESSION_TIMEOUT_SECONDS": "4",
        }

    def start(self) -> None:
        """Start both servers in parallel, then create topics and tables. On any failure, stop both.

        Do not call it from a coroutine: it runs its own event loop (`async with` calls it in a thread).

        Raises:
            ProcessFailedError, MigrationFailedError, aiokafka.errors.KafkaError
        """
        with ExitStack() as undo:
            undo.callback(self.stop)
            with ThreadPoolExecutor(2) as executor:
                starting = [executor.submit(server.start) for server in (self.broker, self._clickhouse)]
            for started in starting:
                started.result()
            asyncio.run(create_topics(self.broker.bootstrap_servers, self._partitions, keep=True))
            self._create_database()
            if self._migrate:
                self._create_tables()
            undo.pop_all()

    def stop(self) -> None:
        """Stop both servers."""
        self._clickhouse.stop()
        self.broker.stop()

    def _create_database(self) -> None:
        if self.database != BUILT_IN_DATABASE:
            with self.engine.client() as client:
                client.execute(f"CREATE DATABASE IF NOT EXISTS `{self.database}`")

    def _create_tables(self) -> None:
        if self._cluster:
            self._cluster.create_tables()
        else:
            self._apply_migrations()

    def _apply_migrations(self) -> None:
        finished = subprocess.run(
            [sys.executable, "-m", "worker", "migrate"],
            check=False,
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={**environment_without_settings(), **self.environment()},
            timeout=MIGRATE_TIMEOUT_SECONDS,
        )
        if finished.returncode:
            raise MigrationFailedError(f"exit code {finished.returncode}\n{finished.stdout}{finished.stderr}".rstrip())

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Stack:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)
