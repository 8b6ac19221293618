"""Replays dead letters.

1. A scan of the dead-letter topic has found the open dead letters; the policy chooses among them.
2. Read them again and gather the chosen ones into batches: metrics as rows, events decoded by today's rules.
3. Process each batch in the worker's pipeline: ClickHouse acknowledges rows, Kafka acknowledges new dead letters.
4. Only then mark the dead letters of the batch as done.

After any interruption the next replay continues: it repeats what is not done, and repeated rows are the same rows. A
dead letter that fails again is done too, because a new one with a higher `dlq.replays` replaces it. Dead letters that
are written after the scan began, its own included, are left for the next replay.

A replay ends when the worker would hold: an operator does not want to wait for ClickHouse, and a scheduled replay runs
again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeGuard

from worker.core.errors import DependencyError, ErrorClass
from worker.core.model import DeadLetterPosition, ReplayedRecord
from worker.core.process import cancel_tasks
from worker.core.retry import Sleep
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.value import InvalidDeadLetter
from worker.events.fan_out import FanOut
from worker.pipeline import Pipeline
from worker.ports import SourceRecordFetcher
from worker.replay.contents import SourceRecordMissing, fan_out_contents, fan_out_source_record
from worker.replay.plan import ReplayPolicy
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import StopConditions, WatchedHold

_MAX_REASON = 200
"""Characters."""


@dataclass
class _ReplayBatch:
    """Dead letters that are processed together."""

    fan_out: FanOut
    letters: list[tuple[DeadLetterPosition, ErrorClass]] = field(default_factory=list)
    bytes: int = 0


class Replayer:
    """One replay.

    Args:
        scan: the open dead letters, already scanned; saves the progress.
        pipeline: processes batches. Its writer holds during an outage, so that an outage makes no new dead letters.
        on_progress: called with the number of processed dead letters.
        stop_seconds: how long a stop waits for the batch in flight.
        on_finishing: called with `stop_seconds` when this waiting begins.
    """

    def __init__(
        self,
        scan: DeadLetterScan,
        sources: SourceRecordFetcher,
        pipeline: Pipeline,
        hold: WatchedHold,
        policy: ReplayPolicy,
        *,
        on_progress: Callable[[int], object] = lambda _: None,
        stop_seconds: float = 15.0,
        on_finishing: Callable[[float], object] = lambda _: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._scan = scan
        self._sources = sources
        self._pipeline = pipeline
        self._hold = hold
        self._policy = policy
        self._on_progress = on_progress
        self._stop_seconds = stop_seconds
        self._on_finishing = on_finishing
        self._sleep = sleep
        self._result = ReplayResult()
        self._next_batch_at = monotonic()

    async def run(self, stop: asyncio.Event) -> ReplayResult:
        """Replay until all is done, `stop` is set, or a dependency is unavailable. To be called once."""
        conditions = StopConditions(stop, self._hold, self._stop_seconds, self._on_finishing)
        in_flight: asyncio.Task[None] | None = None
        try:
            await self._scan.save_progress()  # what the scan has settled
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
        except DependencyError as error:
            self._result.problem = str(error)
        finally:
            await conditions.close()
            if in_flight is not None:
                await cancel_tasks(in_flight)
        self._result.interrupted = stop.is_set()
        return self._result

    async def _read_batches(self) -> AsyncGenerator[_ReplayBatch, None]:
        policy = self._policy
        batch, count = self._new_batch(), 0
        async with aclosing(self._scan.read_batches()) as batches:
            async for items in batches:
                await asyncio.sleep(0)  # lets a stop interrupt a long topic of which nothing is chosen
                for letter in filter(self._is_chosen, items):
                    # An unreplayable dead letter does not count: the limit would never get beyond it.
                    count += await self._add_to_batch(letter, batch)
                    is_last = count == policy.limit
                    if is_last or len(batch.fan_out) >= policy.batch_metrics or batch.bytes >= policy.max_bytes:
                        yield batch
                        batch = self._new_batch()
                    if is_last:
                        return
        if batch.letters:
            yield batch

    def _new_batch(self) -> _ReplayBatch:
        return _ReplayBatch(FanOut(self._policy.max_age_days))

    def _is_chosen(self, item: DeadLetter | ForeignRecord) -> TypeGuard[DeadLetter]:
        return (
            isinstance(item, DeadLetter) and self._policy.filter.matches(item) and not self._policy.is_exhausted(item)
        )

    async def _add_to_batch(self, letter: DeadLetter, batch: _ReplayBatch) -> bool:
        """Add `letter` to `batch`, or count it as unreplayable and return False."""
        error_class = letter.failure.error_class
        try:
            if letter.needs_source_record:
                batch.bytes += await fan_out_source_record(letter, batch.fan_out, self._sources)
            else:
                batch.bytes += fan_out_contents(letter, batch.fan_out)
        except (InvalidDeadLetter, SourceRecordMissing) as error:
            self._result.unreplayable[error_class, str(error)[:_MAX_REASON]] += 1
            return False
        batch.letters.append((letter.position, error_class))
        return True

    async def _process(self, batch: _ReplayBatch) -> None:
        failed = await self._pipeline.write_fan_out(batch.fan_out)
        failed_again = {item.record.replaces for item in failed if isinstance(item.record, ReplayedRecord)}
        for position, error_class in batch.letters:
            self._scan.supersessions.mark_settled(position)
            (self._result.failed_again if position in failed_again else self._result.written)[error_class] += 1
        self._result.failed_as.update(item.failure.error_class for item in failed)
        self._result.metrics_written += len(batch.fan_out) - len(failed)
        await self._scan.save_progress({position.partition for position, _ in batch.letters})
        self._on_progress(self._result.by_class.total())

    async def _wait_for_rate(self) -> None:
        if (seconds := self._next_batch_at - monotonic()) > 0:
            await self._sleep(seconds)

    def _schedule_next_batch(self, metrics: int) -> None:
        rate = self._policy.metrics_per_second
        if rate is not None:
            self._next_batch_at = max(self._next_batch_at, monotonic() - 1.0) + metrics / rate


async def _next(batches: AsyncGenerator[_ReplayBatch, None]) -> _ReplayBatch | None:
    return await anext(batches, None)
