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
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

from worker.errors import DeadLetterUnavailable, DependencyError, ErrorClass
from worker.fanout import FanOut
from worker.hold import Cause, Hold
from worker.letters.letter import DamagedLetter, Letter
from worker.model import Failed, FailedMetric, Place, ReplayedRecord
from worker.pipeline import Pipeline
from worker.ports import DeadLetters, Sources
from worker.replay.contents import NotAtSource, add_contents
from worker.replay.plan import ReplayPolicy
from worker.replay.standing import Standing, is_plain
from worker.retry import Sleep

T = TypeVar("T")


@dataclass
class Outcome:
    """What became of the chosen letters, by class.

    Attributes:
        written: all that was in them is rows now (or skipped by rule).
        failed: something of them failed again, and has a new dead letter.
        left: nothing could be done with them; they stand where they were, by class and reason.
        metrics: metrics that are rows now.
        problem: what ended the replay early, or None.
        interrupted: whether somebody asked it to stop.
    """

    written: Counter[ErrorClass] = field(default_factory=Counter)
    failed: Counter[ErrorClass] = field(default_factory=Counter)
    left: Counter[tuple[ErrorClass, str]] = field(default_factory=Counter)
    metrics: int = 0
    problem: str | None = None
    interrupted: bool = False

    @property
    def dealt_with(self) -> int:
        """Letters that were looked at to the end."""
        return self.written.total() + self.failed.total() + self.left.total()


class WatchedHold(Hold):
    """A hold that somebody can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()

    def enter(self, cause: Cause, reason: str, *, taking: bool = False) -> None:
        """See `Hold`."""
        super().enter(cause, reason, taking=taking)
        self.entered.set()


class OncePerPart:
    """The `DeadLetters` of a replay: leaves out what a replay that was killed has put there already.

    Only the metrics of a whole event need that; the letter of a single metric is settled by the one in its place.
    """

    def __init__(self, dead_letters: DeadLetters, standing: Standing) -> None:
        self._dead_letters = dead_letters
        self._standing = standing

    async def put(self, failed: Sequence[Failed]) -> None:
        """See `worker.ports.DeadLetters`."""
        due = [position for position, item in enumerate(failed) if not self._stands(item)]
        try:
            await self._dead_letters.put([failed[position] for position in due])
        except DeadLetterUnavailable as error:
            raise DeadLetterUnavailable(str(error), [due[position] for position in error.unacknowledged]) from error

    def _stands(self, item: Failed) -> bool:
        if not self._standing.parts or not isinstance(item, FailedMetric):
            return False
        record = item.event.record
        if not isinstance(record, ReplayedRecord):
            return False
        place = (record.replaces, (record.topic, record.partition, record.offset))
        return is_plain(item.metric) and item.metric in self._standing.parts.get(place, ())


@dataclass
class _Block:
    """Letters that are brought to their end together."""

    fanned: FanOut = field(default_factory=FanOut)
    letters: list[tuple[Place, ErrorClass]] = field(default_factory=list)
    bytes: int = 0


class _Ends:
    """What ends a replay early: somebody asks it to stop, or something is away.

    Args:
        stop: set by whoever asks.
        hold: entered when something is away.
        stop_seconds: how long after the first notice of a stop a block that is under way is still waited for.
    """

    def __init__(self, stop: asyncio.Event, hold: WatchedHold, stop_seconds: float) -> None:
        self._stopping = asyncio.create_task(stop.wait())
        self._held = asyncio.create_task(hold.entered.wait())
        self._hold = hold
        self._stop_seconds = stop_seconds
        self._stop_by: float | None = None

    async def close(self) -> None:
        """Listen no longer."""
        self._stopping.cancel()
        self._held.cancel()
        await asyncio.gather(self._stopping, self._held, return_exceptions=True)

    async def unless(self, work: Coroutine[object, object, T]) -> T | None:
        """What `work` gives, or None when there is a stop first: then it is ended where it is.

        Raises:
            DependencyError: something is away before `work` is done.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.wait([task, self._stopping, self._held], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            return task.result()
        if self._held.done():
            raise self._away()
        return None

    async def wait_for(self, block: asyncio.Task[None] | None) -> None:
        """Wait for a block; not for ever while somebody wants to stop, and not at all for what is away.

        Raises:
            DependencyError: ClickHouse or the dead-letter topic is.
        """
        if block is None:
            return
        await asyncio.wait([block, self._stopping, self._held], return_when=asyncio.FIRST_COMPLETED)
        if not block.done() and not self._held.done():
            # One deadline, however often it is waited for: the platform does not wait twice as long either.
            self._stop_by = self._stop_by or monotonic() + self._stop_seconds
            seconds = max(0.0, self._stop_by - monotonic())
            await asyncio.wait([block, self._held], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if block.done():
            block.result()
        elif self._held.done():
            raise self._away()

    def _away(self) -> DependencyError:
        reasons = "; ".join(f"{_NAMES[cause]}: {reason}" for cause, reason in self._hold.reasons.items())
        return DependencyError(reasons or "something was away for a moment")


class Replay:
    """One replay.

    Args:
        standing: what stands in the topic, and where progress is kept; it has been looked at.
        sources: where pointers point.
        pipeline: brings blocks to their end; its writer keeps rows of a store that is away, so that an outage makes no
            new dead letters.
        hold: the pipeline's.
        policy: what is taken.
        told: hears how many letters have been dealt with.
        stop_seconds: how long a stop waits for the block that is under way.
        sleep: keeps the rate; tests put their own clock here.
    """

    def __init__(
        self,
        standing: Standing,
        sources: Sources,
        pipeline: Pipeline,
        hold: WatchedHold,
        policy: ReplayPolicy,
        *,
        told: Callable[[int], object] = lambda _: None,
        stop_seconds: float = 15.0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._standing = standing
        self._sources = sources
        self._pipeline = pipeline
        self._hold = hold
        self._policy = policy
        self._told = told
        self._stop_seconds = stop_seconds
        self._sleep = sleep
        self._outcome = Outcome()
        self._due = monotonic()

    async def run(self, stop: asyncio.Event) -> Outcome:
        """Replay until all is done, `stop` is set, or a dependency is away. To be called once."""
        ends = _Ends(stop, self._hold, self._stop_seconds)
        under_way: asyncio.Task[None] | None = None
        try:
            await self._standing.save()  # what the look has found to be settled
            async with aclosing(self._blocks()) as blocks:
                # One is written while the next is read.
                while (block := await ends.unless(_next(blocks))) is not None:
                    await ends.wait_for(under_way)
                    await ends.unless(self._until_due())
                    if stop.is_set():
                        break
                    self._next_is_due_after(len(block.fanned))
                    under_way = asyncio.create_task(self._finish(block), name="replay-block")
                await ends.wait_for(under_way)
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
        block = _Block()
        async for letter in self._chosen():
            await self._take(letter, block)
            if len(block.fanned) >= policy.block_metrics or block.bytes >= policy.max_bytes:
                yield block
                block = _Block()
        if block.letters:
            yield block

    async def _chosen(self) -> AsyncGenerator[Letter, None]:
        policy, chosen = self._policy, 0
        async with aclosing(self._standing.each()) as letters:
            async for items in letters:
                await asyncio.sleep(0)  # a stop is heard though nothing of a long topic is chosen
                for item in items:
                    if not isinstance(item, Letter) or not policy.means(item) or policy.is_exhausted(item):
                        continue
                    if chosen == policy.limit:
                        return
                    chosen += 1
                    yield item

    async def _take(self, letter: Letter, block: _Block) -> None:
        error_class = letter.failure.error_class
        try:
            block.bytes += await add_contents(letter, block.fanned, self._sources)
        except (DamagedLetter, NotAtSource) as error:
            self._outcome.left[error_class, str(error)[:_REASON]] += 1
            return
        block.letters.append((letter.place, error_class))

    async def _finish(self, block: _Block) -> None:
        failed = await self._pipeline.finish(block.fanned)
        again = {_place(item) for item in failed}
        for place, error_class in block.letters:
            self._standing.settle(place)
            (self._outcome.failed if place in again else self._outcome.written)[error_class] += 1
        self._outcome.metrics += len(block.fanned) - len(failed)
        await self._standing.save({place.partition for place, _ in block.letters})
        self._told(self._outcome.dealt_with)

    async def _until_due(self) -> None:
        if (seconds := self._due - monotonic()) > 0:
            await self._sleep(seconds)

    def _next_is_due_after(self, metrics: int) -> None:
        rate = self._policy.metrics_per_second
        if rate is not None:
            self._due = max(self._due, monotonic() - 1.0) + metrics / rate


_NAMES = {Cause.STORE: "ClickHouse", Cause.DEAD_LETTERS: "the dead-letter topic"}
_REASON = 200


async def _next(blocks: AsyncGenerator[_Block, None]) -> _Block | None:
    return await anext(blocks, None)


def _place(failed: Failed) -> Place | None:
    record = failed.event.record if isinstance(failed, FailedMetric) else failed.record
    return record.replaces if isinstance(record, ReplayedRecord) else None
