"""Processes one batch:

1. Decode each record and fan its metrics out into blocks.
2. Write the blocks; what fails comes back, metric by metric.
3. Write what failed to the dead-letter topic, and wait until it is acknowledged.

Only then may the caller commit: every metric is a row, a dead letter, or was skipped and counted. A batch that does not
fit into memory goes through these steps in parts, each of which may be committed.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from time import perf_counter

from worker.core.errors import ErrorClass
from worker.core.hold import Cause, Hold
from worker.core.model import Failed, FailedMetric, Record
from worker.core.process import cancel_tasks
from worker.core.retry import FOREVER, RetryPolicy, Sleep
from worker.events.block import Block, merge_rare_months
from worker.events.decode import DEFAULT_POLICY, EventPolicy
from worker.events.fan_out import FanOut
from worker.events.skip_counter import count_by_name
from worker.observability.failure_log import FailureLog
from worker.observability.telemetry import Telemetry
from worker.observability.tracing import NO_TRACING, Tracing
from worker.ports import DeadLetterOutcome, DeadLetterSink
from worker.writing.splitting import SplitBudget
from worker.writing.writer import Writer

MAX_BYTES = 16 * 1024 * 1024
"""Estimated memory of the rows and failures that are written at once, by `FanOut.bytes`: at most 220,000 rows. Also
keeps a block below 1,048,576 rows, where the driver would split it and the insert would no longer be atomic."""
_RECORDS_BEFORE_YIELD = 250
"""Records decoded before other tasks run, so that heartbeats to Kafka are not late."""
_MAX_DEAD_LETTERS = 1_000
"""Dead letters in one write."""
_MAX_REASON_LENGTH = 500


def commit_no_parts(_done: int) -> None:
    """Leave the commit to the end of the batch."""


class Pipeline:
    """Turns each metric of a batch of records into a row, a dead letter, or a counted skip.

    Args:
        hold: entered while the dead-letter topic does not acknowledge.
        event_policy: see `decode`.
        counts_rows: whether a row that the store accepts is counted as written; not if the store discards it.
        backoff: the waits between writes of unacknowledged dead letters; they are repeated without a limit.
    """

    def __init__(
        self,
        writer: Writer,
        dead_letters: DeadLetterSink,
        hold: Hold,
        telemetry: Telemetry,
        log: FailureLog,
        backoff: RetryPolicy = FOREVER,
        sleep: Sleep = asyncio.sleep,
        tracing: Tracing = NO_TRACING,
        *,
        event_policy: EventPolicy = DEFAULT_POLICY,
        counts_rows: bool = True,
    ) -> None:
        self._writer = writer
        self._dead_letters = dead_letters
        self._hold = hold
        self._telemetry = telemetry
        self._log = log
        self._backoff = backoff
        self._sleep = sleep
        self._tracing = tracing
        self._event_policy = event_policy
        self._counts_rows = counts_rows

    async def process(self, records: Sequence[Record], on_part: Callable[[int], None] = commit_no_parts) -> None:
        """Write, dead-letter or skip every metric of `records`. They may be committed when this returns.

        After each part but the last, `on_part` is called with the number of records that may be committed by then.
        """
        with self._telemetry.measure_batch(records), self._tracing.span("batch", records, size=len(records)):
            remaining, done = iter(records), 0
            while done < len(records):
                fan_out = await self._fan_out(remaining)
                await self.write_fan_out(fan_out)
                done += fan_out.records
                if done < len(records):
                    on_part(done)
                del fan_out  # else it would stay in memory beside the next one

    async def write_fan_out(self, fan_out: FanOut) -> list[Failed]:
        """Do steps 2 and 3; returns what has become dead letters."""
        if fan_out.blocks:
            self._telemetry.batches.months.observe(len(fan_out.blocks))
        unwritten = await self._write_blocks(merge_rare_months(fan_out.blocks.values()))
        failed = [*fan_out.failed, *unwritten]
        await self._write_dead_letters(failed)
        self._count(fan_out, fan_out.rows - len(unwritten) if self._counts_rows else 0)
        return failed

    async def _write_blocks(self, blocks: Sequence[Block]) -> list[FailedMetric]:
        """Write all blocks at once, so that one that the store does not accept does not delay the others."""
        budget = SplitBudget()
        writing = [
            asyncio.create_task(self._write_block(block, budget), name=f"write-{block.month}") for block in blocks
        ]
        try:
            return [*chain.from_iterable(await asyncio.gather(*writing))]
        except BaseException:
            await cancel_tasks(*writing)
            raise

    async def _write_block(self, block: Block, budget: SplitBudget) -> list[FailedMetric]:
        with self._tracing.span("write", rows=len(block), month=block.month):
            return await self._writer.write(block, budget)

    async def _fan_out(self, records: Iterator[Record]) -> FanOut:
        """Fan out as many records as may be in memory at once, at least one."""
        fan_out = FanOut(self._event_policy)
        for record in records:
            fan_out.add_record(record)
            if fan_out.bytes >= MAX_BYTES:
                break
            if fan_out.records % _RECORDS_BEFORE_YIELD == 0:
                await asyncio.sleep(0)
        return fan_out

    async def _write_dead_letters(self, failed: Sequence[Failed]) -> None:
        if not failed:
            return
        self._log.log_failures(failed)
        try:
            with self._tracing.span("dead-letter", letters=len(failed)):
                for start in range(0, len(failed), _MAX_DEAD_LETTERS):
                    await self._write_until_acknowledged(failed[start : start + _MAX_DEAD_LETTERS])
        finally:
            # Also if a revoke cancels this batch: else nothing would leave the hold, and the worker would hold forever.
            # Another batch that still waits enters it again.
            self._hold.leave(Cause.DEAD_LETTERS)

    async def _write_until_acknowledged(self, failed: Sequence[Failed]) -> None:
        failures = 0
        while failed:
            started = perf_counter()
            try:
                outcomes = await self._dead_letters.write(failed)
            finally:
                self._telemetry.batches.dead_letter_seconds.observe(perf_counter() - started)
            written = list(zip(failed, outcomes, strict=True))
            self._count_dead_letters(written)
            failed = [item for item, outcome in written if outcome.problem is not None]
            if failed:
                problems = {outcome.problem for outcome in outcomes if outcome.problem is not None}
                self._hold.enter(Cause.DEAD_LETTERS, "; ".join(sorted(problems))[:_MAX_REASON_LENGTH])
                failures += 1
                await self._sleep(self._backoff.backoff_seconds(failures))
        self._hold.leave(Cause.DEAD_LETTERS)

    def _count_dead_letters(self, written: Sequence[tuple[Failed, DeadLetterOutcome]]) -> None:
        self._telemetry.count_dead_letters(
            (item, ErrorClass.TOO_LARGE if outcome.is_pointer else item.failure.error_class)
            for item, outcome in written
            if outcome.problem is None
        )

    def _count(self, fan_out: FanOut, written: int) -> None:
        invalid = sum(isinstance(item, FailedMetric) for item in fan_out.failed)
        skipped, labels = fan_out.skipped_metrics, fan_out.skipped_labels
        metrics = fan_out.rows + invalid + sum(skipped.values())
        self._telemetry.count_events(fan_out.events, metrics, written, fan_out.tombstones)
        if skipped or labels:
            self._telemetry.count_skipped(fan_out.skipped, labels.by_reason(), count_by_name(skipped, labels))
