"""Replays dead letters.

1. A scan knows the settlements of the dead-letter topic; the policy chooses among the open dead letters.
2. Append to the journal that the replay begins.
3. Gather the chosen ones into batches, edited or as they are: metrics as rows, events decoded by today's rules.
4. Process each batch in the worker's pipeline: ClickHouse acknowledges rows, Kafka acknowledges new dead letters.
5. Only then append the settlement of the batch.

After any interruption the next replay continues: it repeats what is not settled, and repeated rows are the same rows. A
dead letter that fails again is settled too, because a new one with a higher `dlq.replays` replaces it. Dead letters
that are written after the scan began, its own included, are left for the next replay.

A replay ends when the worker would hold: an operator does not want to wait for ClickHouse, and a scheduled replay runs
again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from worker.core.errors import DependencyError, ErrorClass
from worker.core.model import DeadLetterPosition, ReplayedRecord
from worker.core.process import cancel_tasks
from worker.core.retry import Sleep
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.settlement import identify
from worker.dead_letters.value import InvalidDeadLetter
from worker.events.fan_out import FanOut
from worker.pipeline import Pipeline
from worker.ports import SourceRecordFetcher
from worker.replay import contents
from worker.replay.edit import fan_out_edited
from worker.replay.event_editor import EditFailed, EventEditor
from worker.replay.journal import Journal
from worker.replay.plan import ReplayPolicy, ReplaySelection
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import StopConditions, WatchedHold


class _ReadLetter(NamedTuple):
    """What is kept of a dead letter, whose record would take much more memory."""

    position: DeadLetterPosition
    error_class: ErrorClass
    identity: int


@dataclass
class _ReplayBatch:
    """Dead letters that are processed together."""

    fan_out: FanOut
    letters: list[_ReadLetter] = field(default_factory=list)
    bytes: int = 0


class Replayer:
    """One replay.

    Args:
        scan: the open dead letters.
        journal: of this replay.
        pipeline: processes batches. Its writer holds during an outage, so that an outage makes no new dead letters.
        editor: edits each event before it is replayed; None if they stay as they are.
        on_progress: called with the number of processed dead letters.
        stop_seconds: how long a stop waits for the batch in flight.
        on_finishing: called with `stop_seconds` when this waiting begins.
    """

    def __init__(
        self,
        scan: DeadLetterScan,
        journal: Journal,
        sources: SourceRecordFetcher,
        pipeline: Pipeline,
        hold: WatchedHold,
        policy: ReplayPolicy,
        *,
        editor: EventEditor | None = None,
        on_progress: Callable[[int], object] = lambda _: None,
        stop_seconds: float = 15.0,
        on_finishing: Callable[[float], object] = lambda _: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._scan = scan
        self._journal = journal
        self._sources = sources
        self._pipeline = pipeline
        self._hold = hold
        self._policy = policy
        self._editor = editor
        self._on_progress = on_progress
        self._stop_seconds = stop_seconds
        self._on_finishing = on_finishing
        self._sleep = sleep
        self._result = ReplayResult(ReplaySelection(policy))
        self._next_batch_at = monotonic()

    async def run(self, stop: asyncio.Event) -> ReplayResult:
        """Replay until all is done, `stop` is set, or a dependency is unavailable. To be called once."""
        conditions = StopConditions(stop, self._hold, self._stop_seconds, self._on_finishing)
        in_flight: asyncio.Task[None] | None = None
        try:
            await self._journal.begin()
            async with aclosing(self._read_batches()) as batches:
                # One batch is processed while the next is read.
                while (batch := await conditions.run_interruptibly(_next(batches))) is not None:
                    await conditions.wait_for_batch(in_flight)
                    await conditions.run_interruptibly(self._wait_for_rate())
                    if stop.is_set():
                        break
                    self._schedule_next_batch(len(batch.fan_out))
                    in_flight = asyncio.create_task(self._process(batch), name="replay-batch")
                await conditions.wait_for_batch(in_flight)
            await self._settle(())  # what was superseded and read after the last batch
            await self._journal.end(self._result.counts)
        except DependencyError as error:
            self._result.problem = str(error)
        finally:
            await conditions.close()
            if in_flight is not None:
                await cancel_tasks(in_flight)
        self._result.interrupted = stop.is_set()
        return self._result

    async def _read_batches(self) -> AsyncGenerator[_ReplayBatch, None]:
        policy, selection = self._policy, self._result.selection
        batch = self._new_batch()
        async with aclosing(self._scan.read_batches()) as batches:
            async for items in batches:
                await asyncio.sleep(0)  # lets a stop interrupt a long topic of which nothing is chosen
                for item in items:
                    is_chosen = selection.visit(item)
                    if selection.beyond_limit:
                        return  # to count the others, the rest of the topic would have to be read
                    if not is_chosen or isinstance(item, ForeignRecord):
                        continue
                    if not await self._add_to_batch(item, batch):
                        selection.discount()
                    is_full = len(batch.fan_out) >= policy.batch_metrics or batch.bytes >= policy.max_bytes
                    if is_full or selection.has_reached_limit:
                        yield batch
                        batch = self._new_batch()
        if batch.letters:
            yield batch
        self._result.complete = True

    def _new_batch(self) -> _ReplayBatch:
        return _ReplayBatch(FanOut(self._policy.event_policy))

    async def _add_to_batch(self, letter: DeadLetter, batch: _ReplayBatch) -> bool:
        """Add `letter` to `batch`, or count it as unreplayable and return False."""
        rows, failures = batch.fan_out.rows, len(batch.fan_out.failed)
        try:
            if self._editor is not None:
                edited = await fan_out_edited(letter, batch.fan_out, self._sources, self._editor)
                batch.bytes += len(edited.before) + len(edited.after)
            elif letter.needs_source_record:
                batch.bytes += await contents.fan_out_source_record(letter, batch.fan_out, self._sources)
            else:
                batch.bytes += contents.fan_out_contents(letter, batch.fan_out)
            if self._policy.leaves_refused and len(batch.fan_out.failed) > failures:
                contents.take_back_refused(batch.fan_out, rows, failures)
        except (InvalidDeadLetter, contents.SourceRecordMissing, contents.RefusedAgain, EditFailed) as error:
            self._result.count_unreplayable(letter.failure.error_class, letter.position, str(error))
            return False
        batch.letters.append(_ReadLetter(letter.position, letter.failure.error_class, identify(letter.record)))
        return True

    async def _process(self, batch: _ReplayBatch) -> None:
        failed = await self._pipeline.write_fan_out(batch.fan_out)
        again = {item.record.replaces: item.failure for item in failed if isinstance(item.record, ReplayedRecord)}
        self._result.written.update(item.error_class for item in batch.letters if item.position not in again)
        for letter in batch.letters if again else ():
            if (failure := again.get(letter.position)) is not None:
                reason = f"{failure.error_type}: {failure.message}"
                self._result.count_failed_again(letter.error_class, letter.position, reason)
        self._result.failed_as.update(item.failure.error_class for item in failed)
        self._result.metrics_written += len(batch.fan_out) - len(failed)
        await self._settle(batch.letters)
        self._on_progress(self._result.by_class.total())

    async def _settle(self, letters: Iterable[_ReadLetter]) -> None:
        superseded, self._scan.superseded = self._scan.superseded, {}
        await self._journal.settle([*((item.position, item.identity) for item in letters), *superseded.items()])

    async def _wait_for_rate(self) -> None:
        if (seconds := self._next_batch_at - monotonic()) > 0:
            await self._sleep(seconds)

    def _schedule_next_batch(self, metrics: int) -> None:
        rate = self._policy.metrics_per_second
        if rate is not None:
            self._next_batch_at = max(self._next_batch_at, monotonic() - 1.0) + metrics / rate


async def _next(batches: AsyncGenerator[_ReplayBatch, None]) -> _ReplayBatch | None:
    return await anext(batches, None)
