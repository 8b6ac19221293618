"""The attempts to insert the rows of one block, as telemetry counts them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Self

from worker.core.outcome import Outcome, OutcomeKind
from worker.observability.telemetry import Telemetry
from worker.writing.bisection import Piece

_PENDING = frozenset({OutcomeKind.UNAVAILABLE, OutcomeKind.UNCLASSIFIED})
"""Outcomes after which the same rows are sent again, with the same token."""


@dataclass
class Attempt:
    """One INSERT. Without an outcome it was dropped, by a revoke or a stop."""

    outcome: Outcome | None = None


class InsertAttempts:
    """Counts repeated INSERTs of one block, and registers its pieces in `Telemetry.unanswered` until they are answered.

    Args:
        telemetry: where it is counted.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._pending: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for key in self._pending:
            self._telemetry.unanswered.discard(key)

    @contextmanager
    def measure(self, piece: Piece) -> Iterator[Attempt]:
        """Inside, `piece` is inserted once."""
        attempt, sent = Attempt(), monotonic()
        piece.attempts += 1
        self._telemetry.in_flight.add(id(piece), sent, "no answer yet")
        try:
            yield attempt
        finally:
            self._telemetry.in_flight.discard(id(piece))
            first_sent, piece.first_sent = piece.first_sent, sent if piece.first_sent is None else piece.first_sent
            if first_sent is not None:
                self._count_repetition(attempt.outcome, sent - first_sent)
            if attempt.outcome and attempt.outcome.kind in _PENDING:
                self._pending.add(id(piece))
                self._telemetry.unanswered.add(id(piece), piece.first_sent or sent, str(attempt.outcome))
            else:
                self.answered(piece)

    def answered(self, piece: Piece) -> None:
        """`piece` will not be sent again as it is."""
        self._pending.discard(id(piece))
        self._telemetry.unanswered.discard(id(piece))

    def _count_repetition(self, outcome: Outcome | None, seconds: float) -> None:
        self._telemetry.insert_retry_age.observe(seconds)
        label = (outcome.kind.value, str(outcome.code or "")) if outcome else ("dropped", "")
        self._telemetry.insert_retries.labels(*label).inc()
