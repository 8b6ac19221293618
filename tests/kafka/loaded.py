"""Events of one test: put onto its topic, and looked for in its tables."""

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
"""Of each event."""


def events(count: int) -> list[bytes]:
    """Sound events, all different."""
    return [encoded(event(execution_id=str(uuid4()))) for _ in range(count)]


class Loaded:
    """What was put, and what is found.

    Attributes:
        put: how many events are acknowledged by Kafka.
    """

    def __init__(self, environment: dict[str, str], clickhouse: Client) -> None:
        self.servers = environment["KAFKA_BOOTSTRAP_SERVERS"]
        self.topic = environment["KAFKA_TOPIC"]
        self.dlq_topic = environment["KAFKA_DLQ_TOPIC"]
        self.group = environment["KAFKA_GROUP_ID"]
        self._clickhouse = clickhouse
        self.put = 0

    async def more(self, count: int, partition: int | None = None) -> None:
        """Put so many more events."""
        await send(self.servers, self.topic, events(count), partition=partition)
        self.put += count

    def view(self) -> int:
        """Metrics that a reader of the de-duplicated view sees."""
        return self._count("execution_metrics_deduplicated")

    def table(self) -> int:
        """Rows of the table, what was written twice counted twice."""
        return self._count("execution_metrics")

    def _count(self, table: str) -> int:
        return int(self._clickhouse.execute(f"SELECT count() FROM {table}")[0][0])  # noqa: S608 - ours

    def wait_for_all(self, timeout_seconds: float = 60.0) -> None:
        """Wait until every metric put so far is in the view."""
        wait_until(lambda: self.view() >= METRICS * self.put, f"{METRICS * self.put} metrics", timeout_seconds)

    async def assert_each_once(self) -> None:
        """Nothing is lost, nothing is seen twice, nothing was taken for a failure."""
        assert self.view() == METRICS * self.put
        assert await size(self.servers, self.dlq_topic) == 0

    async def offsets(self, partitions: int = 4) -> dict[int, int | None]:
        """What the group has committed."""
        return await committed(self.servers, self.topic, self.group, partitions)

    async def committed(self, partitions: int = 4) -> int:
        """How many records of the topic the group has behind it."""
        return sum(offset or 0 for offset in (await self.offsets(partitions)).values())


def says(worker: WorkerProcess, text: str) -> bool:
    """Whether the worker has logged this since its last start."""
    return text in worker.process.output()


def assigned(worker: WorkerProcess) -> bool:
    """Whether the worker is a member of its group."""
    return "group" not in worker.readiness()
