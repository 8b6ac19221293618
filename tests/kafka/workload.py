"""Events of one test: sent to its topic, and counted in its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import committed, send, size

if TYPE_CHECKING:
    from clickhouse_driver import Client

    from deploy.local.worker_process import WorkerProcess

METRICS = 2
"""Metrics of each event."""


def events(count: int) -> list[bytes]:
    """Valid events, all different."""
    return [encoded(event(execution_id=str(uuid4()))) for _ in range(count)]


class Workload:
    """Sends events, and counts what the worker has made of them.

    Attributes:
        sent: how many events Kafka has acknowledged.
    """

    def __init__(self, environment: dict[str, str], clickhouse: Client) -> None:
        self.servers = environment["KAFKA_BOOTSTRAP_SERVERS"]
        self.topic = environment["KAFKA_TOPIC"]
        self.dlq_topic = environment["KAFKA_DLQ_TOPIC"]
        self.group = environment["KAFKA_GROUP_ID"]
        self._clickhouse = clickhouse
        self.sent = 0

    async def send(self, count: int, partition: int | None = None) -> None:
        """Send so many more events."""
        await send(self.servers, self.topic, events(count), partition=partition)
        self.sent += count

    def count_view(self) -> int:
        """Metrics in the de-duplicated view."""
        return self._count("execution_metrics_deduplicated")

    def count_table(self) -> int:
        """Rows of the table, duplicates included."""
        return self._count("execution_metrics")

    def _count(self, table: str) -> int:
        return int(self._clickhouse.execute(f"SELECT count() FROM {table}")[0][0])  # noqa: S608 - ours

    def wait_until_written(self, timeout_seconds: float = 60.0) -> None:
        """Wait until every metric sent so far is in the view."""
        wait_until(lambda: self.count_view() >= METRICS * self.sent, f"{METRICS * self.sent} metrics", timeout_seconds)

    async def assert_each_once(self) -> None:
        """Nothing is lost, the view has no duplicates, and there is no dead letter."""
        assert self.count_view() == METRICS * self.sent
        assert await size(self.servers, self.dlq_topic) == 0

    async def committed_offsets(self, partitions: int = 4) -> dict[int, int | None]:
        """The offsets that the group has committed."""
        return await committed(self.servers, self.topic, self.group, partitions)

    async def count_committed(self, partitions: int = 4) -> int:
        """How many records the group has committed."""
        return sum(offset or 0 for offset in (await self.committed_offsets(partitions)).values())


def is_group_member(worker: WorkerProcess) -> bool:
    """Whether the worker is a member of its group."""
    return "group" not in worker.readiness()


def count_dead_letters(worker: WorkerProcess) -> float:
    """The number of dead letters that the worker has written since its start."""
    return sum(worker.telemetry()["metrics_worker_dead_letters_total"].values())
