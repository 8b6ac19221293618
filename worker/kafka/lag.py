"""How far behind the worker is, from what passes through its hands anyway.

aiokafka learns the end of a partition with each fetch. What is settled is known from commits, and the age of what
is not from the polls: a note for each poll and partition is all that the hot path pays for.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from time import time
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.observability.lag import PartitionLag

log = structlog.get_logger(__name__)

_LOOK_AHEAD_SECONDS = 5.0


class _HandedOut(NamedTuple):
    """Some records that were handed out together: the timestamp of the first, and the offset after the last."""

    timestamp: int
    end: int


class _Books:
    """One partition: what was handed out and is not committed, the oldest first."""

    def __init__(self) -> None:
        self.handed_out: deque[_HandedOut] = deque()
        self.settled: int | None = None
        self.waits_since: float | None = None


class LagTracker:
    """What is known of each partition; written by the event loop, read by the thread that is scraped.

    Args:
        consumer: asked for what it knows; nothing is sent to the broker.
        clock: Unix time in seconds; tests put their own here.
    """

    def __init__(self, consumer: AIOKafkaConsumer, clock: Callable[[], float] = time) -> None:
        self._consumer = consumer
        self._clock = clock
        self._books: dict[TopicPartition, _Books] = {}
        self._ends: dict[TopicPartition, int] = {}

    def took(self, partition: TopicPartition, first: int, timestamp: int, end: int) -> None:
        """Records from offset `first` to before `end` were handed out; `timestamp` is that of the first, in ms."""
        books = self._books.setdefault(partition, _Books())
        if books.settled is None:
            books.settled = first
        books.handed_out.append(_HandedOut(timestamp, end))

    def committed(self, partition: TopicPartition, offset: int) -> None:
        """Everything before `offset` is settled."""
        books = self._books.setdefault(partition, _Books())
        books.settled = offset
        while books.handed_out and books.handed_out[0].end <= offset:
            books.handed_out.popleft()

    async def refresh_end_offsets(self) -> None:
        """Ask the broker where partitions end, and rest: from those that are paused nothing is fetched that tells."""
        try:
            async with asyncio.timeout(_LOOK_AHEAD_SECONDS):
                self._ends |= await self._consumer.end_offsets(list(self._consumer.assignment()))
        except (KafkaError, TimeoutError) as error:
            log.debug("where the partitions end cannot be told", error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(_LOOK_AHEAD_SECONDS)

    def forget(self) -> None:
        """The partitions may be another's now."""
        self._books.clear()
        self._ends.clear()

    def __iter__(self) -> Iterator[PartitionLag]:
        """Each partition that is owned and of which something is known."""
        now = self._clock()
        for partition in self._consumer.assignment():
            if (records := self._records(partition)) is not None:
                seconds = self._seconds(self._books.setdefault(partition, _Books()), records, now)
                yield PartitionLag(partition.topic, partition.partition, records, seconds)

    def _records(self, partition: TopicPartition) -> int | None:
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 - `position` is a coroutine, and may wait
        state = subscription.assignment.state_value(partition) if subscription and subscription.assignment else None
        if state is None:
            return None
        books = self._books.get(partition)
        position = state._position  # noqa: SLF001 - read once, because the loop may reset it under this thread
        # When nothing is under way, aiokafka's position is better than ours: it has passed the markers of transactions.
        settled = books.settled if books and (books.handed_out or position is None) else position
        ends = [end for end in (state.highwater, self._ends.get(partition), position) if end is not None]
        if settled is None or not ends:
            return None
        return max(max(ends) - settled, 0)

    @staticmethod
    def _seconds(books: _Books, records: int, now: float) -> float:
        if not records:
            books.waits_since = None
            return 0.0
        oldest = next(iter(tuple(books.handed_out)), None)
        if oldest is not None and oldest.timestamp >= 0:
            books.waits_since = None
            return max(now - oldest.timestamp / 1000, 0.0)
        if books.waits_since is None:
            books.waits_since = now
        return now - books.waits_since
