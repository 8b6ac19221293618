"""From Kafka to batches of records."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from worker.core.heartbeat import Heartbeat
from worker.core.model import Record
from worker.core.process import cancel_tasks
from worker.ports import EventSource, Partition

T = TypeVar("T")

_MAX_POLL_SECONDS = 1.0
_MAX_POLL_RECORDS = 2_500
"""To parse so many takes some ms, in which no other task runs. A poll costs as much CPU as a hundred records."""


@dataclass(frozen=True)
class BatchPolicy:
    """The limits of one batch; whichever is reached first closes it. One commit covers one batch, or part of it.

    `max_events` and `max_bytes` (of keys, values and headers) are at least 1; the record that reaches `max_bytes` is
    the last one. A batch that is not full waits `linger_seconds` for more records.
    """

    max_events: int = 5_000
    max_bytes: int = 8 * 1024 * 1024
    linger_seconds: float = 0.2


class RecordBatch(NamedTuple):
    """Records that are processed and committed together.

    Attributes:
        bytes: of their keys, values and headers.
        next_offsets: what to commit when they are processed; it changes when positions are moved.
    """

    records: Sequence[Record]
    bytes: int
    next_offsets: dict[Partition, int]

    def next_offsets_after(self, count: int) -> dict[Partition, int]:
        """What to commit when the first `count` records are processed.

        Not of a partition whose log was replaced among the records: later ones are before the offset, in the new log.
        """
        done = {Partition(record.topic, record.partition): record.offset + 1 for record in self.records[:count]}
        left: dict[Partition, int] = {}
        for record in self.records[count:]:
            partition = Partition(record.topic, record.partition)
            left[partition] = min(record.offset, left.get(partition, record.offset))
        return {partition: offset for partition, offset in done.items() if left.get(partition, offset) >= offset}


class BatchReader:
    """Reads batches from an event source, and keeps polling it while none may be read; a poll may last a rebalance.

    Attributes:
        next_offsets: of the batch that is being read.
    """

    def __init__(self, source: EventSource, policy: BatchPolicy, heartbeat: Heartbeat) -> None:
        self._source = source
        self._policy = policy
        self._heartbeat = heartbeat
        self._call: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._paused = False
        self.next_offsets: dict[Partition, int] = {}

    async def read_batch(self) -> RecordBatch | None:
        """Poll until a batch is full or has lingered; None if `interrupt` has ended that."""
        try:
            return await self._read_batch()
        finally:
            self.next_offsets = {}

    async def _read_batch(self) -> RecordBatch | None:
        policy = self._policy
        self._interrupted = False
        if self._paused:
            self._paused = False
            self._source.resume()
        records: list[Record] = []
        size = 0
        deadline = float("inf")
        while len(records) < policy.max_events and size < policy.max_bytes:
            wait_seconds = min(deadline - monotonic(), _MAX_POLL_SECONDS)
            if wait_seconds <= 0:
                break
            wanted = min(_MAX_POLL_RECORDS, policy.max_events - len(records))
            polled = await self._await_interruptibly(self._source.poll(wanted, policy.max_bytes - size, wait_seconds))
            if self._interrupted:
                return None  # the records will be read again from the last commit
            if not polled or not polled.records:
                continue
            if not records:
                deadline = monotonic() + policy.linger_seconds
            records += polled.records
            self.next_offsets |= polled.next_offsets
            size += polled.bytes
        return RecordBatch(records, size, self.next_offsets)

    async def pause(self) -> None:
        """Poll without reading records, so that the group sees a live member."""
        self._paused = True
        await self._await_interruptibly(self._source.pause())

    def interrupt(self) -> None:
        """End the poll under way, and discard the batch that is being read."""
        self._interrupted = True
        if self._call is not None:
            self._call.cancel()

    async def _await_interruptibly(self, call: Coroutine[None, None, T]) -> T | None:
        self._call = task = asyncio.create_task(call, name="poll")
        try:
            with self._heartbeat.keep_beating():
                await asyncio.wait([task])
        finally:
            self._call = None
            if not task.done():
                await cancel_tasks(task)
        return None if task.cancelled() else task.result()
