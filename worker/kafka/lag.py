"""How far the worker is behind, and how far retention is behind the worker.

The lag is end offset - committed offset. The end offset comes with each fetch, and every few seconds on request; the
age comes from the timestamp of the oldest uncommitted poll. Cost: one entry per poll and partition.
"""

from collections import deque
from collections.abc import Callable, Iterator
from time import time
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from worker.observability.lag import PartitionLag


class _Poll(NamedTuple):
    """Records of one poll: the timestamp of the first in milliseconds, and the offset after the last."""

    timestamp: int
    end: int


class _PartitionState:
    """One partition: the polls that are not committed, the oldest first, and the offset up to which it is committed."""

    def __init__(self) -> None:
        self.polls: deque[_Poll] = deque()
        self.committed: int | None = None
        self.waiting_since: float | None = None


class LagTracker:
    """The lag of each owned partition; written by the event loop, read by the threads of the HTTP server."""

    def __init__(self, consumer: AIOKafkaConsumer, clock: Callable[[], float] = time) -> None:
        self._consumer = consumer
        self._clock = clock
        self._states: dict[TopicPartition, _PartitionState] = {}
        self._starts: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}

    def record_poll(self, partition: TopicPartition, first: int, timestamp: int, end: int) -> None:
        """Records from offset `first` to before `end` were polled; `timestamp` (ms) is that of the first."""
        state = self._states.setdefault(partition, _PartitionState())
        if state.committed is None:
            state.committed = first
        state.polls.append(_Poll(timestamp, end))

    def record_commit(self, partition: TopicPartition, offset: int) -> None:
        """Everything before `offset` is committed."""
        state = self._states.setdefault(partition, _PartitionState())
        state.committed = offset
        while state.polls and state.polls[0].end <= offset:
            state.polls.popleft()

    async def refresh_bounds(self) -> None:
        """Request where the logs of the owned partitions start and end. Raises KafkaError if Kafka does not answer."""
        partitions = list(self._consumer.assignment())
        if partitions:
            self._starts |= await self._consumer.beginning_offsets(partitions)
            self._ends |= await self._consumer.end_offsets(partitions)

    def restart(self, partition: TopicPartition, start: int) -> None:
        """Forget the log of a partition, whose position was moved to `start`; what is in flight before it stays."""
        self._starts.pop(partition, None)
        self._ends.pop(partition, None)
        state = self._states.get(partition)
        if state is not None and (not state.polls or state.polls[-1].end > start):
            del self._states[partition]

    def reset(self) -> None:
        """Forget everything: the partitions may belong to another member now."""
        self._states.clear()
        self._starts.clear()
        self._ends.clear()

    def __iter__(self) -> Iterator[PartitionLag]:
        """The lag of each owned partition for which it is known."""
        now = self._clock()
        for partition in self._consumer.assignment():
            if (offsets := self._committed_and_end(partition)) is not None:
                committed, end = offsets
                records = max(end - committed, 0)
                seconds = self._seconds(self._states.setdefault(partition, _PartitionState()), records, now)
                start = self._starts.get(partition)
                retained = None if start is None else max(committed - start, 0)
                yield PartitionLag(partition.topic, partition.partition, records, seconds, start, retained)

    def _committed_and_end(self, partition: TopicPartition) -> tuple[int, int] | None:
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 - the public `position` is a coroutine
        aiokafka_state = (
            subscription.assignment.state_value(partition) if subscription and subscription.assignment else None
        )
        if aiokafka_state is None:
            return None
        state = self._states.get(partition)
        position = aiokafka_state._position  # noqa: SLF001 - read once: the event loop may reset it meanwhile
        # With nothing in flight, aiokafka's position is more exact: it is past the markers of transactions.
        committed = state.committed if state and (state.polls or position is None) else position
        ends = [end for end in (aiokafka_state.highwater, self._ends.get(partition), position) if end is not None]
        if committed is None or not ends:
            return None
        return committed, max(ends)

    @staticmethod
    def _seconds(state: _PartitionState, records: int, now: float) -> float:
        if not records:
            state.waiting_since = None
            return 0.0
        oldest = next(iter(tuple(state.polls)), None)
        if oldest is not None and oldest.timestamp >= 0:
            state.waiting_since = None
            return max(now - oldest.timestamp / 1000, 0.0)
        if state.waiting_since is None:
            state.waiting_since = now
        return now - state.waiting_since
