"""Writing a block: one INSERT when all is well, bisected when rows are refused.

1. Insert the block. An outcome that says nothing of the rows is retried within a budget, with the same rows and so the
   same deduplication token.
2. What follows is decided by the outcome (`worker.core.outcome`):
   written       the rows are done
   refused       ask the store which rows violate the constraint that it names (`constraints`), or split the block until
                 each invalid row is alone (`bisection`); these are dead letters
   too_large     split in halves, each with a budget of its own; a small piece counts as unclassified
   unavailable   hold (`circuit_breaker`). With ON_UNAVAILABLE=dead_letter the rows become dead letters, unless the
                 outage had begun before them; otherwise they wait, and are inserted again
   misconfigured hold at once, and wait
   unclassified  retried for some seconds; then split and waited for, until other rows that are written meanwhile tell
                 which rows are invalid (`bisection`)

Which outcome an error code has is said in `worker.clickhouse.error_codes`.
"""

import asyncio
from enum import StrEnum

from worker.core.hold import Hold
from worker.core.model import FailedMetric
from worker.core.outcome import Outcome, OutcomeKind
from worker.core.retry import FOREVER, RetryPolicy, Sleep
from worker.events.block import Block
from worker.observability.telemetry import Telemetry
from worker.ports import Store
from worker.writing.attempts import InsertAttempts
from worker.writing.bisection import Bisection, Piece, WriteCounter
from worker.writing.budget import IsolationBudget
from worker.writing.circuit_breaker import Admission, CircuitBreaker
from worker.writing.constraints import Constraints

_ONCE = RetryPolicy(attempts=1)
_UNCLASSIFIED = RetryPolicy(attempts=5, max_seconds=30.0)
"""After the first attempt of each piece, in an outage too. A store that fails every second INSERT at random refuses one
valid row in 2^18 by three failures in a row."""
_MAX_ROUNDS = 3
_MAX_ROWS_NOT_TOO_LARGE = 1_000
"""A block of at most so many rows is not halved. The memory that ClickHouse takes for an INSERT hardly depends on fewer
rows, so that either one row is at fault or the server."""


class OnUnavailable(StrEnum):
    """What becomes of the rows in flight when the store is unavailable for longer than the retry budget."""

    DEAD_LETTER = "dead_letter"
    HOLD = "hold"


class Writer:
    """Writes blocks to a store, so that one metric's failure is that metric's alone.

    Args:
        store: where the rows go.
        hold: entered while the store is unavailable.
        retry: the retry policy of a block.
        on_unavailable: what to do when it is spent.
        backoff: the pace of trials while the store is unavailable.
        sleep: waits between attempts; tests put their own clock here.
        telemetry: counts pieces, and repeated inserts.
        starts_open: see `CircuitBreaker`.
    """

    def __init__(
        self,
        store: Store,
        hold: Hold,
        retry: RetryPolicy,
        on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
        *,
        backoff: RetryPolicy = FOREVER,
        sleep: Sleep = asyncio.sleep,
        telemetry: Telemetry | None = None,
        starts_open: bool = False,
    ) -> None:
        self._store = store
        self._retry = retry
        self._on_unavailable = on_unavailable
        self._sleep = sleep
        self._telemetry = telemetry or Telemetry()
        self._breaker = CircuitBreaker(store.probe, hold, backoff, sleep, starts_open=starts_open)
        self._constraints = Constraints(store, self._telemetry)
        self._writes = WriteCounter()

    async def write(self, block: Block, budget: IsolationBudget | None = None) -> list[FailedMetric]:
        """Write `block`; when this returns each of its rows is acknowledged by the store or among the failed.

        It waits as long as the store is misconfigured, and with `ON_UNAVAILABLE=hold` as long as it is unavailable.

        Args:
            block: rows of one month.
            budget: of the batch that `block` belongs to.
        """
        budget = budget or IsolationBudget()
        if self._breaker.is_failing:
            return await self._write(block, budget)
        # Rows that a constraint is known to refuse go into an INSERT of their own, so that the others need only one.
        violating, others = await self._constraints.separate_violating(block)
        failed = await self._write(others, budget)
        if len(violating):
            refused = await self._write(violating, budget)
            if len(refused) < len(violating):
                self._constraints.forget()
            failed += refused
        return failed

    async def close(self) -> None:
        """End what runs in the background."""
        await self._breaker.stop()

    async def _write(self, block: Block, budget: IsolationBudget) -> list[FailedMetric]:
        bisection = Bisection(block, budget, self._writes)
        with self._breaker.admit(block.month) as admission, InsertAttempts(self._telemetry) as attempts:
            while (piece := bisection.next_piece()) is not None:
                is_trial = admission.is_trial
                outcome = await self._insert(piece, attempts, _ONCE if is_trial else self._retry)
                violating = await self._constraints.find_violating(outcome, piece.block)
                bisection.report(piece, outcome, violating)
                if bisection.has_split:
                    attempts.answered(piece)
                    self._telemetry.splits.labels(outcome.kind.value).inc()
                if bisection.must_wait:
                    await self._wait_or_give_up(bisection, admission, outcome, is_trial=is_trial)
                elif outcome.kind is OutcomeKind.WRITTEN:
                    admission.succeed(at_first_attempt=piece.attempts == 1)
                elif outcome.kind is OutcomeKind.REFUSED:
                    admission.end_wait()
        self._telemetry.not_isolated.inc(sum(not metric.failure.isolated for metric in bisection.failed))
        return bisection.failed

    async def _insert(self, piece: Piece, attempts: InsertAttempts, retry: RetryPolicy) -> Outcome:
        """Insert `piece` until the outcome says something of its rows, or a budget is spent."""

        async def insert() -> Outcome:
            with attempts.measure(piece) as attempt:
                outcome = await self._store.insert(piece.block)
                if outcome.kind is OutcomeKind.TOO_LARGE and len(piece.block) <= _MAX_ROWS_NOT_TOO_LARGE:
                    outcome = outcome._replace(kind=OutcomeKind.UNCLASSIFIED)
                attempt.outcome = outcome
            return outcome

        for _ in range(_MAX_ROUNDS):
            outcome = await retry.call(insert, lambda outcome: outcome.kind is OutcomeKind.UNAVAILABLE, self._sleep)
            if outcome.kind is not OutcomeKind.UNCLASSIFIED:
                break
            outcome = await _UNCLASSIFIED.call(insert, lambda o: o.kind is OutcomeKind.UNCLASSIFIED, self._sleep)
            if outcome.kind is not OutcomeKind.UNAVAILABLE:
                break  # else an outage has begun meanwhile, which has a budget of its own
        return outcome

    async def _wait_or_give_up(
        self, bisection: Bisection, admission: Admission, outcome: Outcome, *, is_trial: bool
    ) -> None:
        may_give_up = self._on_unavailable is OnUnavailable.DEAD_LETTER and not is_trial
        if may_give_up and outcome.kind is OutcomeKind.UNAVAILABLE:
            admission.give_up(outcome)
            bisection.give_up(outcome)
        else:
            await admission.wait(outcome)
