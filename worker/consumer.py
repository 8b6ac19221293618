"""From Kafka to the pipeline and back: read a batch, process it, commit it, in the order of arrival.

1. Intake reads a batch and starts to process it, while fewer than `concurrency` are running. Batches that are done and
   wait for an older one to be committed do not count: one row that may be invalid must not delay all others.
2. The commit loop waits for the oldest batch, and commits the next offset of each of its partitions. A batch that is
   processed in parts is committed in parts: a thousand events of a thousand NaN are a million dead letters, more than a
   worker writes between two deployments or rebalances.
3. On revoke and on stop, intake ends, and unfinished batches get a deadline to be finished and committed. The rest is
   dropped uncommitted. Kafka delivers it again to the next owner, which changes nothing in the de-duplicated view.

What guards a commit: records are committed when `Pipeline.process` is done with them, never before older ones, never
after `on_revoke` has returned, never with offsets of a log that is gone (`on_reset`), and, in the `EventSource`, only
for partitions that are still owned.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

import structlog

from worker.batch_reader import BatchPolicy, BatchReader, RecordBatch
from worker.core.heartbeat import Heartbeat
from worker.core.hold import Hold
from worker.core.process import cancel_tasks
from worker.pipeline import Pipeline
from worker.ports import EventSource, EventSourceListener, Partition

log = structlog.get_logger(__name__)

_POLL_SECONDS = 1.0
"""How often a paused consumer polls, to stay a member of its group."""
_COMMIT_RETRY_SECONDS = 1.0
"""How often a refused commit is tried again."""
_COMMIT_GRACE_SECONDS = 1.0
"""How long a revoke waits for a commit under way."""
_HOLD_CHECK_SECONDS = 1.0
"""How soon a revoke or a stop that waits for batches notices that the worker holds."""
_MAX_UNCOMMITTED_BATCHES = 50
"""Batches that are done but wait for an older one to be committed; after a restart they are written again."""
_TRICKLE_SECONDS = 15.0
"""Beyond that limit one batch starts per interval: if it is written, the store works and the waiting row is invalid."""
_MAX_HELD_BATCHES = 50
"""Batches that may run at once while the store is held and in doubt; small ones, within the memory of full ones."""


@dataclass(frozen=True)
class _RunningBatch:
    """A batch that is processed, or waits to be committed.

    Attributes:
        next_offsets: what to commit when it is done.
        next_offsets_of_parts: what may be committed before.
    """

    task: asyncio.Task[None]
    next_offsets: dict[Partition, int]
    next_offsets_of_parts: dict[Partition, int]
    records: int
    bytes: int


class Consumer(EventSourceListener):
    """Reads batches from an event source, runs them through a pipeline, and commits them.

    Args:
        hold: while it is active unfinished batches cannot end, so that neither a stop nor a revoke waits for them.
        concurrency: batches that are processed at once.
        revoke_seconds: how long a revoke waits for unfinished batches; less than the rebalance time-out.
        stop_seconds: how long a stop waits for them.
    """

    def __init__(
        self,
        source: EventSource,
        pipeline: Pipeline,
        hold: Hold,
        policy: BatchPolicy,
        heartbeat: Heartbeat,
        *,
        concurrency: int,
        revoke_seconds: float,
        stop_seconds: float,
    ) -> None:
        self._source = source
        self._pipeline = pipeline
        self._hold = hold
        self._policy = policy
        self._heartbeat = heartbeat
        self._concurrency = concurrency
        self._revoke_seconds = revoke_seconds
        self._stop_seconds = stop_seconds
        self._reader = BatchReader(source, policy, heartbeat)
        self._batches: deque[_RunningBatch] = deque()
        self._uncommitted: dict[Partition, int] = {}
        self._commit_task: asyncio.Task[bool] | None = None
        self._changed = asyncio.Event()
        self._revoking = self._has_reset = False
        self._last_start = monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then finish or drop what is unfinished.

        Raises what intake, a batch or a commit has raised unexpectedly; no unfinished batch has been committed.
        """
        self._source.subscribe(self)
        intake = asyncio.create_task(self._read_and_start_batches(), name="intake")
        commits = asyncio.create_task(self._commit_finished_batches(), name="commits")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([intake, commits, stopping], return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                intake.cancel()
                await self._wait_for_batches(self._stop_seconds)
        finally:
            self._drop_batches()
            await cancel_tasks(intake, commits, stopping)
        for loop in (intake, commits):
            if not loop.cancelled() and (error := loop.exception()):
                raise error
        if not stop.is_set():
            raise RuntimeError("intake or commit loop ended although no stop was requested")

    async def on_revoke(self) -> None:
        """Finish unfinished batches or drop them: every partition may belong to another member when this returns."""
        self._revoking = True
        try:
            self._reader.interrupt()
            await self._wait_for_batches(self._revoke_seconds)
            self._drop_batches()
            await self._end_commit()
        finally:
            self._revoking = False

    async def on_reset(self, starts: Mapping[Partition, int]) -> None:
        """See `worker.ports.EventSourceListener`."""
        for partition, start in starts.items():
            unfinished = [batch.next_offsets for batch in self._batches] + [self._reader.next_offsets]
            unfinished = [offsets for offsets in unfinished if partition in offsets]
            if any(offsets[partition] > start for offsets in unfinished):
                # The new log may grow up to them. Committed, they would let a restart skip its records before them.
                for offsets in unfinished:
                    del offsets[partition]
                unfinished.clear()
            (unfinished[-1] if unfinished else self._uncommitted)[partition] = start
        self._has_reset = True
        self._notify()

    async def _read_and_start_batches(self) -> None:
        while True:
            await self._wait_for_capacity()
            await self._read_and_start_batch()

    async def _read_and_start_batch(self) -> None:
        # Not in the loop: its variable would keep the records, after they are processed, until the next batch is read.
        if batch := await self._reader.read_batch():
            self._start(batch)

    async def _wait_for_capacity(self) -> None:
        """Wait until another batch may start. The polls meanwhile keep the membership of the group."""
        while self._revoking or not self._has_capacity():
            self._heartbeat.beat()
            if not await self._wait_for_change(_POLL_SECONDS):
                await self._reader.pause()

    def _has_capacity(self) -> bool:
        """Whether another batch may start.

        While invalid rows may be the cause of the hold (`Hold.is_in_doubt`), small batches may start beyond
        `concurrency`: if they are written, the store is not the cause. All together they are no larger than
        `concurrency` full batches.
        """
        running = [batch for batch in self._batches if not batch.task.done()]
        done = len(self._batches) - len(running)
        if done >= _MAX_UNCOMMITTED_BATCHES and monotonic() - self._last_start < _TRICKLE_SECONDS:
            return False
        if sum(batch.bytes for batch in running) >= self._concurrency * self._policy.max_bytes:
            return False  # a record larger than a batch is among them
        if len(running) < self._concurrency:
            return True
        full = self._concurrency - 1  # the one that starts may be full
        fits = (
            sum(batch.records for batch in running) <= full * self._policy.max_events
            and sum(batch.bytes for batch in running) <= full * self._policy.max_bytes
        )
        return self._hold.is_in_doubt and fits and len(running) < _MAX_HELD_BATCHES

    def _start(self, batch: RecordBatch) -> None:
        self._last_start = monotonic()
        parts: dict[Partition, int] = {}

        def on_part(done: int) -> None:
            parts.update(batch.next_offsets_after(done))
            self._notify()

        task = asyncio.create_task(self._pipeline.process(batch.records, on_part), name="batch")
        task.add_done_callback(self._notify)
        self._batches.append(_RunningBatch(task, batch.next_offsets, parts, len(batch.records), batch.bytes))

    async def _commit_finished_batches(self) -> None:
        while True:
            while self._batches and ((oldest := self._batches[0]).task.done() or oldest.next_offsets_of_parts):
                if not oldest.task.done():
                    await self._commit_parts(oldest)
                    continue
                oldest.task.result()  # an exception is a bug: it ends the worker, and nothing is committed
                self._uncommitted |= oldest.next_offsets
                oldest.next_offsets.clear()
                await self._commit()
                if self._batches and self._batches[0] is oldest:  # no revoke has dropped it meanwhile
                    self._batches.popleft()
                    self._notify()
            has_changed = await self._wait_for_change(_COMMIT_RETRY_SECONDS)
            if self._has_reset or not has_changed:
                self._has_reset = False
                await self._commit()

    async def _commit_parts(self, batch: _RunningBatch) -> None:
        """Commit what is done of a batch; not in logs that are gone, whose offsets `on_reset` has deleted."""
        parts = batch.next_offsets_of_parts
        self._uncommitted |= {at: parts[at] for at in parts if at in batch.next_offsets}
        parts.clear()
        await self._commit()

    async def _commit(self) -> None:
        """Commit the offsets of finished batches. Refused offsets stay, for the next batch or retry."""
        if not self._uncommitted:
            return
        offsets = self._uncommitted.copy()
        self._commit_task = asyncio.create_task(self._source.commit(offsets), name="commit")
        try:
            await asyncio.wait([self._commit_task])
        finally:
            await cancel_tasks(self._commit_task)
        if not self._commit_task.cancelled() and self._commit_task.result():
            for partition, offset in offsets.items():
                if self._uncommitted.get(partition) == offset:  # else `on_reset` has moved it meanwhile
                    del self._uncommitted[partition]

    async def _end_commit(self) -> None:
        """Let a commit under way end within a second, else cancel it: later the partition may have another owner."""
        if self._commit_task is not None and not self._commit_task.done():
            await asyncio.wait([self._commit_task], timeout=_COMMIT_GRACE_SECONDS)
            await cancel_tasks(self._commit_task)

    async def _wait_for_batches(self, seconds: float) -> None:
        """Wait for unfinished batches. While holding they cannot end, so it does not wait."""
        deadline = monotonic() + seconds
        while self._batches and not self._hold.is_active and (left := deadline - monotonic()) > 0:
            await self._wait_for_change(min(left, _HOLD_CHECK_SECONDS))
        if self._batches:
            log.warning("dropping unfinished batches, uncommitted", batches=len(self._batches))

    def _drop_batches(self) -> None:
        for batch in self._batches:
            batch.task.cancel()
        self._batches.clear()
        self._uncommitted.clear()  # when the partitions come back, another member may have committed more
        self._notify()

    def _notify(self, _: object = None) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_for_change(self, timeout_seconds: float) -> bool:
        """Wait until a batch ends or is dropped; False if the time is over first."""
        # Not asyncio.wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
