"""Putting dead letters back.

1. Look at what stands in the dead-letter topic, and choose (`worker.replay.plan`).
2. Read it again, and gather the chosen letters into blocks: metrics as rows, events through the decoder of today.
3. Bring each block to its end in the pipeline of the worker: rows acknowledged by ClickHouse, new dead letters
   acknowledged by Kafka.
4. Then, and only then, take its letters down as done.

Whatever ends a replay in between, the next one goes on: a letter that is not done is taken again, and the rows that it
has left are the same rows. A letter that fails again is done too, because another one, with `dlq.replays` one higher,
stands in its place. What was written after the look began is none of this replay's business, its own letters included.

While the worker would hold, a replay ends: nobody waits for a store that is away with a terminal open, and an
unattended replay comes again by its schedule.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeGuard

from worker.core.errors import DependencyError, ErrorClass
from worker.core.model import Failed, FailedMetric, RecordPosition, ReplayedRecord
from worker.core.retry import Sleep
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.value import DamagedLetter
from worker.events.fan_out import FanOut
from worker.pipeline import Pipeline
from worker.ports import SourceRecordFetcher
from worker.replay.contents import NotAtSource, fan_out_contents, fan_out_source_record
from worker.replay.plan import ReplayPolicy
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import StopConditions, WatchedHold


@dataclass
class _Block:
    """Letters that are brought to their end together."""

    fanned: FanOut = field(default_factory=FanOut)
    letters: list[tuple[RecordPosition, ErrorClass]] = field(default_factory=list)
    bytes: int = 0


class Replayer:
    """One replay.

    Args:
        standing: what stands in the topic, and where progress is kept; it has been looked at.
        sources: where pointers point.
        pipeline: brings blocks to their end; its writer keeps rows of a store that is away, so that an outage makes no
            new dead letters.
        hold: the pipeline's.
        policy: what is taken.
        on_progress: hears how many letters have been dealt with.
        stop_seconds: how long a stop waits for the block that is under way.
        on_finishing: hears when it begins to, and how many seconds at most.
        sleep: keeps the rate; tests put their own clock here.
    """

    def __init__(
        self,
        standing: DeadLetterScan,
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
        self._standing = standing
        self._sources = sources
        self._pipeline = pipeline
        self._hold = hold
        self._policy = policy
        self._on_progress = on_progress
        self._stop_seconds = stop_seconds
        self._on_finishing = on_finishing
        self._sleep = sleep
        self._outcome = ReplayResult()
        self._due = monotonic()

    async def run(self, stop: asyncio.Event) -> ReplayResult:
        """Replay until all is done, `stop` is set, or a dependency is away. To be called once."""
        ends = StopConditions(stop, self._hold, self._stop_seconds, self._on_finishing)
        under_way: asyncio.Task[None] | None = None
        try:
            await self._standing.save()  # what the look has found to be settled
            async with aclosing(self._blocks()) as blocks:
                # One is written while the next is read.
                while (block := await ends.run_unless_stopped(_next(blocks))) is not None:
                    await ends.wait_for_block(under_way)
                    await ends.run_unless_stopped(self._until_due())
                    if stop.is_set():
                        break
                    self._next_is_due_after(len(block.fanned))
                    under_way = asyncio.create_task(self._finish(block), name="replay-block")
                await ends.wait_for_block(under_way)
        except DependencyError as error:
            self._outcome.problem = str(error)
        finally:
            await ends.close()
            if under_way is not None:
                under_way.cancel()
                await asyncio.gather(under_way, return_exceptions=True)
        self._outcome.interrupted = stop.is_set()
        return self._outcome

    async def _blocks(self) -> AsyncGenerator[_Block, None]:
        policy = self._policy
        block, taken = _Block(), 0
        async with aclosing(self._standing.read_batches()) as letters:
            async for items in letters:
                await asyncio.sleep(0)  # a stop is heard though nothing of a long topic is chosen
                for letter in filter(self._is_chosen, items):
                    # What cannot be put back does not count: else it would stand before the rest for ever.
                    taken += await self._take(letter, block)
                    is_last = taken == policy.limit
                    if is_last or len(block.fanned) >= policy.block_metrics or block.bytes >= policy.max_bytes:
                        yield block
                        block = _Block()
                    if is_last:
                        return
        if block.letters:
            yield block

    def _is_chosen(self, item: DeadLetter | ForeignRecord) -> TypeGuard[DeadLetter]:
        return isinstance(item, DeadLetter) and self._policy.includes(item) and not self._policy.is_exhausted(item)

    async def _take(self, letter: DeadLetter, block: _Block) -> bool:
        """Add a letter to a block; False where nothing can be done with it."""
        error_class = letter.failure.error_class
        try:
            if letter.needs_source_record:
                block.bytes += await fan_out_source_record(letter, block.fanned, self._sources)
            else:
                block.bytes += fan_out_contents(letter, block.fanned)
        except (DamagedLetter, NotAtSource) as error:
            self._outcome.unreplayable[error_class, str(error)[:_REASON]] += 1
            return False
        block.letters.append((letter.position, error_class))
        return True

    async def _finish(self, block: _Block) -> None:
        failed = await self._pipeline.write_fan_out(block.fanned)
        again = {_place(item) for item in failed}
        for position, error_class in block.letters:
            self._standing.supersessions.mark_settled(position)
            (self._outcome.failed_again if position in again else self._outcome.written)[error_class] += 1
        self._outcome.failed_as.update(item.failure.error_class for item in failed)
        self._outcome.metrics_written += len(block.fanned) - len(failed)
        await self._standing.save({position.partition for position, _ in block.letters})
        self._on_progress(self._outcome.processed)

    async def _until_due(self) -> None:
        if (seconds := self._due - monotonic()) > 0:
            await self._sleep(seconds)

    def _next_is_due_after(self, metrics: int) -> None:
        rate = self._policy.metrics_per_second
        if rate is not None:
            self._due = max(self._due, monotonic() - 1.0) + metrics / rate


_REASON = 200


async def _next(blocks: AsyncGenerator[_Block, None]) -> _Block | None:
    return await anext(blocks, None)


def _place(failed: Failed) -> RecordPosition | None:
    record = failed.event.record if isinstance(failed, FailedMetric) else failed.record
    return record.replaces if isinstance(record, ReplayedRecord) else None
