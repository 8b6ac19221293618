"""Writing a block: one INSERT when all is well, one metric alone when it is not.

1. Insert the block. An outcome that says nothing of the rows is retried within a budget, with the same rows and so the
   same deduplication token.
2. What follows is decided by the outcome (`worker.outcome`):
   written       the rows are done
   refused       ask the store which rows violate the constraint that it names (`constraints`), or cut the block until
                 the invalid rows stand alone (`bisection`); these are dead letters
   too_large     cut in halves, each with a budget of its own
   unavailable   hold (`circuit_breaker`). With ON_UNAVAILABLE=dead_letter the rows become dead letters, unless the
                 outage had begun before them; otherwise they wait, and are inserted again
   misconfigured hold at once, and wait
   unclassified  as unavailable, unless other rows are written meanwhile (`bisection`)

Which outcome an error code has is said in `worker.clickhouse.error_codes`.
"""

import asyncio
from dataclasses import replace
from enum import StrEnum

from worker.block import Block
from worker.hold import Hold
from worker.model import FailedMetric
from worker.outcome import Outcome, OutcomeKind
from worker.ports import Store
from worker.retry import UNTIL_DONE, RetryPolicy, Sleep
from worker.telemetry import Telemetry
from worker.writing.attempts import InsertAttempts
from worker.writing.bisection import Bisection, IsolationBudget, Piece, Progress
from worker.writing.circuit_breaker import Admission, CircuitBreaker
from worker.writing.constraints import Constraints

_ONCE = RetryPolicy(attempts=1)
_ATTEMPTS_FOR_SUSPECT = 4
"""Of a piece that fails with an unclassified code. A store that fails every second INSERT at random fails a valid row
three times so often in one of 4,096 cases."""
_SMALL = 1_000
"""Rows that are never too many. The memory that ClickHouse takes for an INSERT hardly depends on fewer rows."""
_JUDGED = (OutcomeKind.WRITTEN, OutcomeKind.REFUSED)
_RETRIED = (OutcomeKind.UNAVAILABLE, OutcomeKind.UNCLASSIFIED)


class OnUnavailable(StrEnum):
    """What becomes of the rows in flight when the store is unavailable for longer than the retry budget."""

    DEAD_LETTER = "dead_letter"
    HOLD = "hold"


class Writer:
    """Writes blocks to a store, so that one metric's failure is that metric's alone.

    Args:
        store: where the rows go.
        hold: entered while the store is unavailable.
        retry: the budget of a block.
        on_unavailable: what to do when it is spent.
        backoff: the pace of trials while the store is unavailable.
        sleep: waits between attempts; tests put their own clock here.
        telemetry: counts pieces, and repeated inserts.
        starts_on_trial: whether the first block waits when the store is unavailable, whatever `on_unavailable` says.
    """

    def __init__(
        self,
        store: Store,
        hold: Hold,
        retry: RetryPolicy,
        on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
        *,
        backoff: RetryPolicy = UNTIL_DONE,
        sleep: Sleep = asyncio.sleep,
        telemetry: Telemetry | None = None,
        starts_on_trial: bool = False,
    ) -> None:
        self._store = store
        self._retry = retry
        self._retry_suspect = replace(retry, attempts=_ATTEMPTS_FOR_SUSPECT)
        self._on_unavailable = on_unavailable
        self._sleep = sleep
        self._telemetry = telemetry or Telemetry()
        self._breaker = CircuitBreaker(store.probe, hold, backoff, sleep, starts_open=starts_on_trial)
        self._constraints = Constraints(store, self._telemetry)
        self._progress = Progress()

    async def write(self, block: Block, budget: IsolationBudget | None = None) -> list[FailedMetric]:
        """Write `block`; when this returns each of its rows is acknowledged by the store or among the failed.

        It waits as long as the store is misconfigured, and with `ON_UNAVAILABLE=hold` as long as it is unavailable.

        Args:
            block: rows of one month.
            budget: of the batch that `block` belongs to.
        """
        budget = budget or IsolationBudget()
        if not self._breaker.is_closed:
            return await self._write(block, budget)
        # Rows that a constraint is known to refuse go into an INSERT of their own, so that the others need only one.
        suspected, others = await self._constraints.divide(block)
        failed = await self._write(others, budget)
        if len(suspected):
            refused = await self._write(suspected, budget)
            if len(refused) < len(suspected):
                self._constraints.forget()
            failed += refused
        return failed

    async def close(self) -> None:
        """End what runs in the background."""
        await self._breaker.stop()

    async def _write(self, block: Block, budget: IsolationBudget) -> list[FailedMetric]:
        bisection = Bisection(block, budget, self._progress)
        with self._breaker.admit(block.month) as admission, InsertAttempts(self._telemetry) as attempts:
            while (piece := bisection.next_piece()) is not None:
                is_trial = admission.is_trial
                outcome = await self._insert(piece, attempts, self._budget_of(piece, is_trial=is_trial))
                await self._report(bisection, piece, outcome)
                if bisection.stuck:
                    await self._wait_or_abandon(bisection, admission, outcome, is_trial=is_trial)
                elif outcome.kind in _JUDGED:
                    admission.succeed()
        self._telemetry.not_isolated.inc(sum(not metric.failure.isolated for metric in bisection.failed))
        return bisection.failed

    def _budget_of(self, piece: Piece, *, is_trial: bool) -> RetryPolicy:
        if piece.is_suspect:
            return self._retry_suspect
        return _ONCE if is_trial else self._retry

    async def _insert(self, piece: Piece, attempts: InsertAttempts, policy: RetryPolicy) -> Outcome:
        async def insert() -> Outcome:
            with attempts.measure(piece) as attempt:
                outcome = await self._store.insert(piece.block)
                if outcome.kind is OutcomeKind.TOO_LARGE and len(piece.block) <= _SMALL:
                    outcome = outcome._replace(kind=OutcomeKind.UNAVAILABLE)
                attempt.outcome = outcome
            return outcome

        return await policy.call(insert, lambda outcome: outcome.kind in _RETRIED, self._sleep)

    async def _report(self, bisection: Bisection, piece: Piece, outcome: Outcome) -> None:
        violating = await self._constraints.violating(outcome, piece.block)
        bisection.report(piece, outcome, violating)
        if outcome.kind is not OutcomeKind.WRITTEN and not bisection.stuck and len(piece.block) > 1:
            self._telemetry.splits.labels(outcome.kind.value).inc()

    async def _wait_or_abandon(
        self, bisection: Bisection, admission: Admission, outcome: Outcome, *, is_trial: bool
    ) -> None:
        gives_up = self._on_unavailable is OnUnavailable.DEAD_LETTER and outcome.kind is not OutcomeKind.MISCONFIGURED
        if gives_up and not is_trial:
            admission.give_up(outcome)
            bisection.abandon(outcome)
        else:
            await admission.wait(outcome)
