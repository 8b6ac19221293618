"""One batch, top to bottom: the story of the program.

1. Decode each record and fan its metrics out into blocks.
2. Write the blocks; what fails comes back, metric by metric.
3. Put what failed on the dead-letter topic, and wait until it is acknowledged.

Then, and only then, the caller may commit: every metric is a row, a dead letter, or was skipped and counted.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from time import perf_counter

from worker.core.errors import DeadLetterUnavailable, ErrorClass
from worker.core.hold import Cause, Hold
from worker.core.model import Failed, FailedMetric, Record
from worker.core.retry import FOREVER, RetryPolicy, Sleep
from worker.events.block import Block
from worker.events.fan_out import FanOut
from worker.observability.failure_log import FailureLog
from worker.observability.telemetry import Telemetry
from worker.observability.tracing import OFF, Tracing
from worker.ports import DeadLetterSink
from worker.writing.budget import IsolationBudget
from worker.writing.writer import Writer

MAX_ROWS = 200_000
"""Rows and failures in memory at once. Also keeps a block below 1,048,576 rows, where the driver would cut it in two
and the insert would not be atomic any more."""
_RECORDS_AT_A_TIME = 250
"""Records decoded before the event loop gets its turn, so that heartbeats are not late."""
_MAX_PUT = 1_000


class Pipeline:
    """Takes batches of records to their end.

    Args:
        writer: writes blocks.
        dead_letters: takes what failed.
        hold: entered while the dead-letter topic does not acknowledge.
        telemetry: counts what becomes of everything.
        log: is told of everything that fails.
        patience: the pace at which dead letters are put again; it is never given up, whatever its budget.
        sleep: waits in between; tests put their own clock here.
        tracing: is told what is done when.
    """

    def __init__(
        self,
        writer: Writer,
        dead_letters: DeadLetterSink,
        hold: Hold,
        telemetry: Telemetry,
        log: FailureLog | None = None,
        patience: RetryPolicy = FOREVER,
        sleep: Sleep = asyncio.sleep,
        tracing: Tracing = OFF,
    ) -> None:
        self._writer = writer
        self._dead_letters = dead_letters
        self._hold = hold
        self._telemetry = telemetry
        self._log = log or FailureLog(users=False)
        self._patience = patience
        self._sleep = sleep
        self._tracing = tracing

    async def process(self, records: Sequence[Record]) -> None:
        """Bring every metric of `records` to one of its three ends; when this returns they may be committed."""
        with self._telemetry.batch(records), self._tracing.span("batch", records, size=len(records)):
            remaining = iter(records)
            while (fanned := await self._fan_out(remaining)) is not None:
                await self.finish(fanned)

    async def finish(self, fanned: FanOut) -> list[Failed]:
        """Steps 2 and 3 for what is fanned out already; returns what became dead letters."""
        unwritten = await self._write([*fanned.blocks.values()])
        failed = [*fanned.failed, *unwritten]
        await self._put(failed)
        self._count(fanned, fanned.rows - len(unwritten))
        return failed

    async def _write(self, blocks: Sequence[Block]) -> list[FailedMetric]:
        """Write all blocks at once: where the store accepts one month and not another, the others need not wait."""
        budget = IsolationBudget()
        writing = [
            asyncio.create_task(self._write_block(block, budget), name=f"write-{block.month}") for block in blocks
        ]
        try:
            return [*chain.from_iterable(await asyncio.gather(*writing))]
        finally:
            for task in writing:
                task.cancel()

    async def _write_block(self, block: Block, budget: IsolationBudget) -> list[FailedMetric]:
        with self._tracing.span("write", rows=len(block), month=block.month):
            return await self._writer.write(block, budget)

    async def _fan_out(self, records: Iterator[Record]) -> FanOut | None:
        """Fan out as many records as may be in memory at once; None when there are none left."""
        fanned = FanOut()
        taken = 0
        for record in records:
            fanned.add_record(record)
            taken += 1
            if len(fanned) >= MAX_ROWS:
                break
            if taken % _RECORDS_AT_A_TIME == 0:
                await asyncio.sleep(0)
        return fanned if taken else None

    async def _put(self, failed: Sequence[Failed]) -> None:
        if not failed:
            return
        self._log.log_failures(failed)
        try:
            with self._tracing.span("dead-letter", letters=len(failed)):
                for start in range(0, len(failed), _MAX_PUT):
                    await self._put_until_acknowledged(failed[start : start + _MAX_PUT])
        finally:
            # Also when a revoke ends this batch: else nobody would leave the hold, and the worker stand still for ever.
            # Another batch that still waits enters it again.
            self._hold.leave(Cause.DEAD_LETTERS)

    async def _put_until_acknowledged(self, failed: Sequence[Failed]) -> None:
        unacknowledged = failed
        async for attempt in self._patience.retry_forever(DeadLetterUnavailable, self._sleep):
            with attempt:
                started = perf_counter()
                try:
                    self._count_letters(unacknowledged, (), await self._dead_letters.write(unacknowledged))
                except DeadLetterUnavailable as error:
                    self._count_letters(unacknowledged, error.unacknowledged, error.pointers)
                    unacknowledged = [unacknowledged[position] for position in error.unacknowledged]
                    self._hold.enter(Cause.DEAD_LETTERS, str(error))
                    raise
                finally:
                    self._telemetry.dead_letter_seconds.observe(perf_counter() - started)
        self._hold.leave(Cause.DEAD_LETTERS)

    def _count_letters(self, put: Sequence[Failed], missing: Collection[int], pointers: Collection[int]) -> None:
        missing, pointers = frozenset(missing), frozenset(pointers)
        self._telemetry.lettered(
            (item, ErrorClass.TOO_LARGE if position in pointers else item.failure.error_class)
            for position, item in enumerate(put)
            if position not in missing
        )

    def _count(self, fanned: FanOut, written: int) -> None:
        refused = sum(isinstance(item, FailedMetric) for item in fanned.failed)
        metrics = fanned.rows + refused + fanned.skipped.total()
        self._telemetry.settled(fanned.events, metrics, written, fanned.skipped, fanned.tombstones)
