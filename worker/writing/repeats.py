"""The attempts to insert the same rows, as telemetry sees them."""

from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import Self

from worker.errors import RowRefused, StoreError, StoreUnavailable, UnknownStoreError
from worker.telemetry import Telemetry
from worker.writing.isolation import TooMuch

_REASONS = ((TooMuch, "too_much"), (RowRefused, "refused"), (UnknownStoreError, "unknown"))
"""Why a block is cut into pieces, by the error that ends its attempts."""


class Repeats:
    """Watches the attempts for one block, from the first to the last, whatever the last comes to.

    Args:
        telemetry: where it is counted.
        divisible: whether the block is cut into pieces when it is refused.
    """

    def __init__(self, telemetry: Telemetry, *, divisible: bool) -> None:
        self._telemetry = telemetry
        self._divisible = divisible
        self._first: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._telemetry.unanswered.discard(id(self))
        reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)
        if reason and self._divisible:
            self._telemetry.splits.labels(reason).inc()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One insert happens inside."""
        sent = monotonic()
        outcome, code = "mistake", ""
        try:
            yield
            outcome = "ok"
        except StoreError as error:
            outcome, code = type(error).__name__, str(error.code or "")
            if isinstance(error, StoreUnavailable):
                self._telemetry.unanswered.add(id(self), sent)
            raise
        except CancelledError:  # on a revoke or a stop; it is no mistake, and comes again
            outcome = "dropped"
            raise
        finally:
            if self._first is None:
                self._first = sent
            else:
                self._telemetry.insert_retry_age.observe(sent - self._first)
                self._telemetry.insert_retries.labels(outcome, code).inc()
