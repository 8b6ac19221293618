"""Writing a block: one INSERT when all is well, bisected when rows are refused.

The outcome of the INSERT decides what follows (`error_codes.txt` and `errors.py` of `worker/clickhouse` have the
outcome of each error):

written        the rows are done
refused        dead-letter the invalid rows: those that violate the constraint that the outcome names, found by one
               query (`constraints`), or else those that are refused alone (`bisection`)
too_large      insert halves, each with a retry budget of its own; a small block of one month counts as unclassified
unavailable    retry the same rows, with the same deduplication token, within the retry budget; then hold
               (`circuit_breaker`). With ON_UNAVAILABLE=dead_letter the rows become dead letters, unless the outage had
               begun before them; otherwise they wait, and are inserted again. A block of several months is first
               split into its months once, if the store accepts an INSERT of no rows: the storage of one may be away
misconfigured  hold at once, and wait
unclassified   retry for some seconds; then split, by month first, and wait until other rows that are written show
               which rows are invalid (`bisection`)
"""

import asyncio
from collections.abc import Sequence
from itertools import chain

from worker.core.hold import Hold
from worker.core.model import FailedMetric
from worker.core.outcome import Outcome, OutcomeKind
from worker.core.retry import FOREVER, RetryPolicy, Sleep
from worker.events.block import Block
from worker.observability.telemetry import Telemetry
from worker.ports import Store
from worker.writing.bisection import Bisection
from worker.writing.circuit_breaker import CircuitBreaker
from worker.writing.constraints import ConstraintChecker
from worker.writing.insert_attempts import InsertAttempts
from worker.writing.on_unavailable import OnUnavailable
from worker.writing.splitting import Piece, SplitBudget, WriteCounter


class Writer:
    """Writes blocks to a store, so that the failure of one row fails no other row.

    Args:
        retry: the retry budget of a block.
        on_unavailable: what to do when the budget is spent.
        hold, backoff, starts_open: see `CircuitBreaker`.
    """

    def __init__(
        self,
        store: Store,
        hold: Hold,
        telemetry: Telemetry,
        retry: RetryPolicy,
        on_unavailable: OnUnavailable,
        *,
        backoff: RetryPolicy = FOREVER,
        sleep: Sleep = asyncio.sleep,
        starts_open: bool = False,
    ) -> None:
        self._store = store
        self._retry = retry
        self._on_unavailable = on_unavailable
        self._sleep = sleep
        self._telemetry = telemetry
        self._breaker = CircuitBreaker(store.probe, hold, backoff, sleep, starts_open=starts_open)
        self._constraints = ConstraintChecker(store, telemetry)
        self._writes = WriteCounter()

    async def write(self, block: Block, budget: SplitBudget) -> list[FailedMetric]:
        """Write `block`; return the rows that failed. The store has acknowledged all others.

        It waits as long as the store is misconfigured, and with `ON_UNAVAILABLE=hold` as long as it is unavailable.

        Args:
            block: rows of one month, or of several with few rows each; at least one row.
            budget: of the batch that `block` belongs to.
        """
        if self._breaker.is_failing or not self._constraints.is_needed:
            return await self._insert_or_bisect(Piece(block), budget)
        # Rows that a constraint is known to refuse go into an INSERT of their own, so that the others need only one.
        violating, others = await self._constraints.split_known_violations(block)
        failed = await self._insert_or_bisect(Piece(others), budget) if others else []
        if violating:
            refused = await self._insert_or_bisect(Piece(violating), budget)
            if len(refused) < len(violating):
                self._constraints.forget()
            failed += refused
        return failed

    async def close(self) -> None:
        """End the probe of the store."""
        await self._breaker.close()

    async def _insert_or_bisect(
        self, piece: Piece, budget: SplitBudget, *, may_be_trial: bool = True
    ) -> list[FailedMetric]:
        inserts = InsertAttempts(self._store, self._retry, self._sleep, self._telemetry)
        try:
            is_trial = may_be_trial and self._breaker.is_open_for(piece.block.month)
            outcome = await inserts.insert(piece, is_trial=is_trial)
            if outcome.kind is not OutcomeKind.WRITTEN:
                bisection = Bisection(piece, budget, self._writes)
                return await self._bisect(bisection, inserts, piece, outcome, is_trial=is_trial)
            budget.record_written(piece.block)
            self._writes.record_write()
            self._breaker.record_success(piece.block.month, at_first_attempt=piece.attempts == 1)
            return []
        finally:
            inserts.close()

    async def _bisect(
        self, bisection: Bisection, inserts: InsertAttempts, piece: Piece, outcome: Outcome, *, is_trial: bool
    ) -> list[FailedMetric]:
        """Write or fail each row of a block, which has failed as one `piece` with `outcome`; return the failed rows."""
        try:
            await self._report_outcome(bisection, inserts, piece, outcome, is_trial=is_trial)
            while (next_piece := bisection.next_piece()) is not None:
                is_trial = self._breaker.is_open_for(next_piece.block.month)
                outcome = await inserts.insert(next_piece, is_trial=is_trial)
                await self._report_outcome(bisection, inserts, next_piece, outcome, is_trial=is_trial)
        finally:
            self._breaker.end_wait(bisection)
        self._telemetry.isolation.rows_not_isolated.inc(sum(not metric.failure.isolated for metric in bisection.failed))
        return bisection.failed

    async def _report_outcome(
        self, bisection: Bisection, inserts: InsertAttempts, piece: Piece, outcome: Outcome, *, is_trial: bool
    ) -> None:
        """Report `outcome` to the bisection and to the breaker; wait where no INSERT can succeed now."""
        violating = await self._constraints.locate_violations(outcome, piece.block)
        has_split, must_wait = bisection.report(piece, outcome, violating)
        if has_split:
            inserts.forget(piece)
            self._telemetry.isolation.splits.labels(outcome.kind.value).inc()
        if must_wait:
            is_budget_spent = outcome.kind is OutcomeKind.UNAVAILABLE and not is_trial
            if is_budget_spent and (months := await self._split_months(bisection)):
                inserts.close()
                self._breaker.end_wait(bisection)
                bisection.failed += await self._write_months(months, bisection.budget)
            elif is_budget_spent and self._on_unavailable is OnUnavailable.DEAD_LETTER:
                self._breaker.open(outcome)
                bisection.give_up(outcome)
            else:
                await self._breaker.wait(bisection, outcome)
        elif outcome.kind is OutcomeKind.WRITTEN:
            self._breaker.end_wait(bisection)
            self._breaker.record_success(piece.block.month, at_first_attempt=piece.attempts == 1)
        elif outcome.kind is OutcomeKind.REFUSED:
            self._breaker.end_wait(bisection)

    async def _split_months(self, bisection: Bisection) -> list[Piece]:
        """Take the rows that are left as one piece for each month, if the outage may be of some of these only.

        ClickHouse stores each month apart, so that one can be away. If the store accepts not even an INSERT of no rows,
        the outage is of all months, and there is nothing to split.
        """
        if not bisection.has_several_months or (await self._store.probe()).kind is not OutcomeKind.WRITTEN:
            return []
        return bisection.take_months()

    async def _write_months(self, months: Sequence[Piece], budget: SplitBudget) -> list[FailedMetric]:
        """Write all `months` at once, each with a retry budget of its own; return the rows that failed.

        None is a trial, because the block that they are of was none.
        """
        async with asyncio.TaskGroup() as group:
            writing = [group.create_task(self._insert_or_bisect(piece, budget, may_be_trial=False)) for piece in months]
        return [*chain.from_iterable(task.result() for task in writing)]
