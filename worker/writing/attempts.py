"""The attempts to insert the rows of one block, as telemetry counts them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Self

from worker.outcome import Outcome, OutcomeKind
from worker.telemetry import Telemetry
from worker.writing.bisection import Piece

_UNANSWERED = frozenset({OutcomeKind.UNAVAILABLE, OutcomeKind.UNCLASSIFIED, OutcomeKind.MISCONFIGURED})


@dataclass
class Attempt:
    """One INSERT; without an outcome it was dropped, by a revoke or a stop."""

    outcome: Outcome | None = None


class InsertAttempts:
    """Counts repeated INSERTs, and keeps the block among the unanswered ones as long as it is.

    Args:
        telemetry: where it is counted.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._telemetry.unanswered.discard(id(self))

    @contextmanager
    def measure(self, piece: Piece) -> Iterator[Attempt]:
        """Inside, `piece` is inserted once."""
        attempt, sent = Attempt(), monotonic()
        piece.attempts += 1
        try:
            yield attempt
        finally:
            outcome = attempt.outcome
            if piece.first_sent is None:
                piece.first_sent = sent
            else:
                label = (outcome.kind.value, str(outcome.code or "")) if outcome else ("dropped", "")
                self._telemetry.insert_retry_age.observe(sent - piece.first_sent)
                self._telemetry.insert_retries.labels(*label).inc()
            if outcome and outcome.kind in _UNANSWERED:
                self._telemetry.unanswered.add(id(self), piece.first_sent, str(outcome))
            else:
                self._telemetry.unanswered.discard(id(self))
