"""The INSERTs of one block: an INSERT is repeated while its outcome says nothing of the rows, within retry budgets."""

from functools import partial
from time import monotonic

from worker.core.outcome import Outcome, OutcomeKind
from worker.core.retry import RetryPolicy, Sleep
from worker.events.block import Block
from worker.observability.telemetry import Telemetry
from worker.ports import Store
from worker.writing.splitting import Piece

_ONCE = RetryPolicy(attempts=1)
_RETRY_UNCLASSIFIED = RetryPolicy(attempts=5, max_seconds=30.0)
"""Extra attempts after an unclassified failure. A row is refused after three failures of (1 first + 5 extra attempts):
with a store that fails half of all INSERTs at random, all 18 fail by chance for 1 of 262,144 valid rows."""
_MAX_ROUNDS = 3
"""Changes between the two retry budgets of one piece, where an outage and unclassified failures alternate."""
_MAX_ROWS_NOT_TOO_LARGE = 1_000
"""Below this size ClickHouse's memory hardly depends on the number of rows: TOO_LARGE means one bad row or a failing
server, and is treated as UNCLASSIFIED."""
_RETRYABLE = frozenset({OutcomeKind.UNAVAILABLE, OutcomeKind.UNCLASSIFIED})


class InsertAttempts:
    """The INSERTs of one block: repeats them within the retry budgets, and keeps the pieces that have no answer."""

    def __init__(self, store: Store, retry: RetryPolicy, sleep: Sleep, telemetry: Telemetry) -> None:
        self._store = store
        self._retry = retry
        self._sleep = sleep
        self._telemetry = telemetry
        self._unanswered: set[Piece] = set()

    async def insert(self, piece: Piece, *, is_trial: bool) -> Outcome:
        """Insert `piece` until the outcome says something of its rows, or a retry budget is spent."""
        started = monotonic()
        outcome = await self._insert_once(piece)
        if outcome.kind in _RETRYABLE:
            return await self._repeat(piece, outcome, monotonic() - started, is_trial=is_trial)
        return outcome

    def forget(self, piece: Piece) -> None:
        """Do not wait for an answer of `piece` any more: it is answered, or split."""
        self._unanswered.discard(piece)
        self._telemetry.unanswered.remove(piece)

    def close(self) -> None:
        """Forget every piece: the block is written, failed or dropped."""
        for piece in self._unanswered:
            self._telemetry.unanswered.remove(piece)

    async def _repeat(self, piece: Piece, first: Outcome, seconds: float, *, is_trial: bool) -> Outcome:
        """Repeat an INSERT whose first attempt took `seconds`; returns the last outcome."""
        insert = partial(self._insert_once, piece)
        retry = _ONCE if is_trial else self._retry
        outcome = await retry.call_again(first, seconds, insert, _is_unavailable, self._sleep)
        for rounds_left in reversed(range(_MAX_ROUNDS)):
            if outcome.kind is not OutcomeKind.UNCLASSIFIED:
                break
            outcome = await _RETRY_UNCLASSIFIED.call(insert, _is_unclassified, self._sleep)
            if outcome.kind is not OutcomeKind.UNAVAILABLE or not rounds_left:
                break
            # An outage has begun meanwhile, which has a budget of its own.
            outcome = await retry.call(insert, _is_unavailable, self._sleep)
        return outcome

    async def _insert_once(self, piece: Piece) -> Outcome:
        outcome: Outcome | None = None
        sent, first_sent = monotonic(), piece.first_sent
        piece.first_sent = sent if first_sent is None else first_sent
        piece.attempts += 1
        self._telemetry.in_flight.record(piece, sent, "no answer yet")
        try:
            outcome = await self._store.insert(piece.block)
            if outcome.kind is OutcomeKind.TOO_LARGE and _is_small(piece.block):
                outcome = outcome._replace(kind=OutcomeKind.UNCLASSIFIED)
            return outcome
        finally:
            self._telemetry.in_flight.remove(piece)
            if outcome and outcome.kind in _RETRYABLE:
                self._unanswered.add(piece)
                self._telemetry.unanswered.record(piece, piece.first_sent, str(outcome))
            elif first_sent is not None:
                self.forget(piece)
            if first_sent is not None:
                self._count_retry(outcome, sent - first_sent)

    def _count_retry(self, outcome: Outcome | None, age_seconds: float) -> None:
        """Count an INSERT that repeats an earlier one; without an outcome it was dropped by a revoke or a stop."""
        labels = (outcome.kind.value, str(outcome.code or "")) if outcome else ("dropped", "")
        self._telemetry.inserts.retries.labels(*labels).inc()
        self._telemetry.inserts.retry_age.observe(age_seconds)


def _is_small(block: Block) -> bool:
    """Whether neither the rows nor the months of `block` can be too many."""
    return len(block) <= _MAX_ROWS_NOT_TOO_LARGE and not block.has_several_months


def _is_unavailable(outcome: Outcome) -> bool:
    return outcome.kind is OutcomeKind.UNAVAILABLE


def _is_unclassified(outcome: Outcome) -> bool:
    return outcome.kind is OutcomeKind.UNCLASSIFIED
