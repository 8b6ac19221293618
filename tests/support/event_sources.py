"""Event sources of a test: opened on a real broker, read, and stopped after the test."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from worker.core.model import Record
from worker.kafka.event_source import KafkaEventSource
from worker.kafka.membership import GroupPolicy
from worker.kafka.target import KafkaTarget
from worker.observability.telemetry import Telemetry
from worker.ports import EventSourceListener, Partition


class CommitResets(EventSourceListener):
    """A listener with nothing in flight.

    Attributes:
        resets: the starts of each reset.
    """

    def __init__(self, source: KafkaEventSource) -> None:
        self.resets: list[Mapping[Partition, int]] = []
        self._source = source

    async def on_revoke(self) -> None:
        pass

    async def on_reset(self, starts: Mapping[Partition, int]) -> None:
        self.resets.append(starts)
        await self._source.commit(starts)


class EventSources:
    """Opens event sources that join their group."""

    def __init__(self) -> None:
        self._opened: list[KafkaEventSource] = []

    async def open(
        self,
        servers: str,
        topic: str,
        group: str,
        *,
        instance_id: str | None = None,
        session_seconds: float = 2.0,
        rebalance_seconds: float = 5.0,
    ) -> KafkaEventSource:
        policy = GroupPolicy(group, instance_id, session_seconds, rebalance_seconds)
        source = KafkaEventSource(KafkaTarget(servers), topic, policy, Telemetry())
        self._opened.append(source)
        await source.start()
        source.subscribe(CommitResets(source))
        return source

    async def close(self) -> None:
        await asyncio.gather(*(source.close() for source in self._opened))


@asynccontextmanager
async def open_event_sources() -> AsyncIterator[EventSources]:
    sources = EventSources()
    try:
        yield sources
    finally:
        await sources.close()


async def poll_records(source: KafkaEventSource, count: int) -> list[Record]:
    """Poll until there are so many records."""
    records: list[Record] = []
    async with asyncio.timeout(20):
        while len(records) < count:
            records += (await source.poll(count - len(records), 2**30, 0.5)).records
    return records


async def wait_until_member(source: KafkaEventSource) -> None:
    """Poll until the event source is a member of its group."""
    async with asyncio.timeout(20):
        while not source.is_group_member:
            await source.poll(1, 1, 0.2)
