"""From Kafka to the pipeline and back: gather a batch, process it, commit it, in the order of arrival.

1. Intake gathers a batch and starts it, as long as fewer than `concurrency` are running. Batches that are done and wait
   for an older one to be committed do not count: one row that may be invalid must not keep others from being written.
2. Settling waits for the oldest batch, and commits the next offset of each of its partitions.
3. On revoke and on stop: intake ends, what is under way finishes inside a deadline and is committed, the rest is
   dropped uncommitted. It comes again, to whoever owns the partitions, and changes nothing in the de-duplicated view.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import structlog

from worker.core.hold import Hold
from worker.core.model import Record
from worker.events.batch_policy import BatchPolicy
from worker.pipeline import Pipeline
from worker.ports import EventSource, Partition

log = structlog.get_logger(__name__)

T = TypeVar("T")

_TICK_SECONDS = 1.0
"""Longest wait without a sign of life; also how often a paused consumer polls."""
_MAX_UNCOMMITTED_BATCHES = 50
"""Batches that are done and cannot be committed before an older one; a restart writes them again."""
_MAX_HELD_BATCHES = 50
_TRICKLE_SECONDS = 15.0
"""Beyond these one batch may begin so often: what it writes may be what the older one waits for."""
_POLL_RECORDS = 500
"""Records taken at a time at most."""


@dataclass(frozen=True)
class _Batch:
    task: asyncio.Task[None]
    offsets: Mapping[Partition, int]
    records: int
    bytes: int


class Consumer:
    """Drives an inbox through a pipeline.

    Args:
        inbox: where records come from.
        pipeline: brings each of them to its end.
        hold: while it is active work under way does not end, so that neither a stop nor a revoke waits for it.
        policy: how much makes a batch.
        concurrency: batches under way at once.
        revoke_seconds: how long a revoke waits for what is under way; shorter than the rebalance time-out.
        stop_seconds: how long a stop waits for it.
    """

    def __init__(
        self,
        inbox: EventSource,
        pipeline: Pipeline,
        hold: Hold,
        policy: BatchPolicy,
        *,
        concurrency: int,
        revoke_seconds: float,
        stop_seconds: float,
    ) -> None:
        self._inbox = inbox
        self._pipeline = pipeline
        self._hold = hold
        self._policy = policy
        self._concurrency = concurrency
        self._revoke_seconds = revoke_seconds
        self._stop_seconds = stop_seconds
        self._under_way: deque[_Batch] = deque()
        self._uncommitted: dict[Partition, int] = {}
        self._committing: asyncio.Task[bool] | None = None
        self._record_bytes = 1.0
        self._changed = asyncio.Event()
        self._generation = 0
        self._revoking = False
        self._poll: asyncio.Task[Any] | None = None
        self._last_begun = monotonic()
        self.last_progress = monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then finish or drop what is under way.

        Raises:
            Exception: whatever ended intake or settling; nothing that is not finished has been committed.
        """
        self._inbox.subscribe(self)
        intake = asyncio.create_task(self._intake(), name="intake")
        settling = asyncio.create_task(self._settle(), name="settle")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([intake, settling, stopping], return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                intake.cancel()
                await self._drain(self._stop_seconds)
        finally:
            self._drop()
            own = [task for task in (self._poll, self._committing) if task is not None]
            await _cancel([intake, settling, stopping, *own])
        for loop in (intake, settling):
            if not loop.cancelled() and (error := loop.exception()):
                raise error
        if not stop.is_set():
            raise RuntimeError("the consumer has ended without having been asked to")

    async def on_revoke(self) -> None:
        """Every partition may go to another member when this returns: finish what is under way, or drop it."""
        self._revoking = True
        try:
            if self._poll is not None:
                self._poll.cancel()
            await self._drain(self._revoke_seconds)
            self._generation += 1
            self._drop()
            await self._end_commit()
        finally:
            self._revoking = False

    # Intake

    async def _intake(self) -> None:
        while True:
            await self._turn()
            generation = self._generation
            records = await self._gather(generation)
            if not records or generation != self._generation or self._revoking:
                continue  # what was gathered before a revoke comes again from its last commit
            self._last_begun = monotonic()
            task = asyncio.create_task(self._pipeline.process(records), name="batch")
            task.add_done_callback(self._wake)
            size = sum(map(_size, records)) if len(records) < self._policy.max_events else self._policy.max_bytes
            self._under_way.append(_Batch(task, _next_offsets(records), len(records), size))

    async def _turn(self) -> None:
        """Wait until another batch may begin; the group sees a member that polls all the while."""
        idle = False
        while self._revoking or not self._may_begin():
            self.last_progress = monotonic()
            if not await self._change(_TICK_SECONDS):
                idle = True
                await self._watched(self._inbox.pause())
        if idle:
            self._inbox.resume()

    def _may_begin(self) -> bool:
        """Whether there is room for another batch.

        While it is in doubt whether the store or rows that wait are the reason for holding, small batches may begin
        beyond `concurrency`, as long as all together are not larger than so many full ones: what they write tells.
        """
        running = [batch for batch in self._under_way if not batch.task.done()]
        done = len(self._under_way) - len(running)
        if done >= _MAX_UNCOMMITTED_BATCHES and monotonic() - self._last_begun < _TRICKLE_SECONDS:
            return False
        if len(running) < self._concurrency:
            return True
        full = self._concurrency - 1  # the one that begins may be full
        fits = (
            sum(batch.records for batch in running) <= full * self._policy.max_events
            and sum(batch.bytes for batch in running) <= full * self._policy.max_bytes
        )
        return self._hold.is_in_doubt and fits and len(running) < _MAX_HELD_BATCHES

    async def _gather(self, generation: int) -> list[Record]:
        """Poll until a batch is full or has lingered; what it returns belongs to `generation` or is to be dropped."""
        policy = self._policy
        records: list[Record] = []
        size = 0
        until = float("inf")
        while generation == self._generation and len(records) < policy.max_events and size < policy.max_bytes:
            wait = min(until - monotonic(), _TICK_SECONDS)
            if wait <= 0 or self._revoking:
                break
            # Records like the last ones, and the batch does not overshoot its bytes.
            fitting = 1 + int((policy.max_bytes - size) / self._record_bytes)
            wanted = min(_POLL_RECORDS, policy.max_events - len(records), fitting)
            some = await self._watched(self._inbox.poll(wanted, wait)) or ()
            if not some:
                continue
            if not records:
                until = monotonic() + policy.linger_seconds
            records += some
            added = sum(map(_size, some))
            size += added
            self._record_bytes = max(added / len(some), 1.0)
        return records

    async def _watched(self, call: Coroutine[None, None, T]) -> T | None:
        """Await `call` with signs of life: a poll lasts as long as a rebalance does. None when a revoke cut it off."""
        task = asyncio.create_task(call, name="poll")
        self._poll = task
        while not task.done():
            self.last_progress = monotonic()
            await asyncio.wait([task], timeout=_TICK_SECONDS)
        self.last_progress = monotonic()
        self._poll = None
        return None if task.cancelled() else task.result()

    # Settling

    async def _settle(self) -> None:
        while True:
            while self._under_way and self._under_way[0].task.done():
                await self._finish(self._under_way[0])
            if not await self._change(_TICK_SECONDS):
                await self._commit()

    async def _finish(self, batch: _Batch) -> None:
        """Commit a batch that is done. The oldest comes first, so that no commit runs ahead of work under way."""
        batch.task.result()  # an error here is a mistake of ours: nothing is committed and the worker ends
        self._uncommitted |= batch.offsets
        await self._commit()
        if self._under_way and self._under_way[0] is batch:
            self._under_way.popleft()
            self._wake()

    async def _commit(self) -> None:
        """Commit what is finished. What is refused stays, and goes with the next, or with the next tick."""
        generation, offering = self._generation, self._uncommitted
        self._uncommitted = {}
        if offering and not await self._committed(offering) and generation == self._generation:
            self._uncommitted = offering | self._uncommitted

    async def _committed(self, offsets: Mapping[Partition, int]) -> bool:
        self._committing = asyncio.create_task(self._commit_now(offsets), name="commit")
        await asyncio.wait([self._committing])
        return not self._committing.cancelled() and self._committing.result()

    async def _commit_now(self, offsets: Mapping[Partition, int]) -> bool:
        return await self._inbox.commit(offsets)

    async def _end_commit(self) -> None:
        """Let a commit that is under way end now: later it could reach a partition that is another's."""
        if self._committing is not None and not self._committing.done():
            await asyncio.wait([self._committing], timeout=_TICK_SECONDS)
            await _cancel([self._committing])

    async def _drain(self, seconds: float) -> None:
        """Wait for what is under way; not at all while holding, because then it will not end."""
        deadline = monotonic() + seconds
        while self._under_way and not self._hold.reasons and (left := deadline - monotonic()) > 0:
            await self._change(min(left, _TICK_SECONDS))
        if self._under_way:
            log.warning("dropping what is under way, uncommitted", batches=len(self._under_way))

    def _drop(self) -> None:
        for batch in self._under_way:
            batch.task.cancel()
        self._under_way.clear()
        self._uncommitted.clear()  # another member may be further by the time that the partitions come back
        self._wake()

    def _wake(self, _: object = None) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self, timeout_seconds: float) -> bool:
        """Wait until a batch ends or is dropped; False when the time is over first."""
        # Not asyncio.wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _next_offsets(records: Sequence[Record]) -> dict[Partition, int]:
    last = {(record.topic, record.partition): record.offset for record in records}
    return {Partition(*partition): offset + 1 for partition, offset in last.items()}


def _size(record: Record) -> int:
    size = len(record.value or b"") + len(record.key or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else size
