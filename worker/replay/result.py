"""The result of a replay."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterPosition
from worker.replay.plan import ReplaySelection

_MAX_REASON = 200
"""Characters."""
_MAX_REASONS = 100
_MAX_FAILURES = 100


class ReplayFailure(NamedTuple):
    """A dead letter that was not written: it failed again, or stays open."""

    position: DeadLetterPosition
    reason: str
    failed_again: bool


@dataclass
class ReplayResult:
    """What became of the chosen dead letters, counted by class.

    Attributes:
        selection: the dead letters that were read.
        complete: whether all were read; not if the replay ended early, or some are beyond the limit.
        written: everything in them is rows now, or skipped by a documented rule.
        failed_again: something in them failed again and has a new dead letter.
        failed_as: metrics and events with a new dead letter, by the class of the new one.
        unreplayable: they could not be replayed and stay open, by class and reason.
        failures: some of the dead letters that are counted in `failed_again` or in `unreplayable`.
        problem: why the replay ended early, or None.
    """

    selection: ReplaySelection
    complete: bool = False
    written: Counter[ErrorClass] = field(default_factory=Counter)
    failed_again: Counter[ErrorClass] = field(default_factory=Counter)
    failed_as: Counter[ErrorClass] = field(default_factory=Counter)
    unreplayable: Counter[tuple[ErrorClass, str]] = field(default_factory=Counter)
    failures: list[ReplayFailure] = field(default_factory=list)
    metrics_written: int = 0
    problem: str | None = None
    interrupted: bool = False

    def count_unreplayable(self, error_class: ErrorClass, position: DeadLetterPosition, reason: str) -> None:
        """Count a dead letter that stays open."""
        self.unreplayable[bounded_reason(self.unreplayable, error_class, reason)] += 1
        self._keep_failure(position, reason, failed_again=False)

    def count_failed_again(self, error_class: ErrorClass, position: DeadLetterPosition, reason: str) -> None:
        """Count a dead letter that a new one replaces."""
        self.failed_again[error_class] += 1
        self._keep_failure(position, reason, failed_again=True)

    def _keep_failure(self, position: DeadLetterPosition, reason: str, *, failed_again: bool) -> None:
        if len(self.failures) < _MAX_FAILURES:
            self.failures.append(ReplayFailure(position, reason[:_MAX_REASON], failed_again))

    @property
    def remaining(self) -> int | None:
        """Selected dead letters that are not done; None if not all were read."""
        return (
            self.selection.chosen.total() - self.written.total() + self.selection.remaining if self.complete else None
        )

    @property
    def counts(self) -> dict[str, int]:
        """The sums, for the journal."""
        return {
            "written": self.written.total(),
            "failed_again": self.failed_again.total(),
            "not_replayable": self.unreplayable.total(),
        }

    @property
    def by_class(self) -> Counter[ErrorClass]:
        """Processed dead letters of each class."""
        unreplayable: Counter[ErrorClass] = Counter()
        for (error_class, _), count in self.unreplayable.items():
            unreplayable[error_class] += count
        return self.written + self.failed_again + unreplayable


def bounded_reason(
    counts: Collection[tuple[ErrorClass, str]], error_class: ErrorClass, reason: str
) -> tuple[ErrorClass, str]:
    """What to count a reason by. It can quote a value of the event, so that only some different ones are counted."""
    key = error_class, reason[:_MAX_REASON]
    return key if key in counts or len(counts) < _MAX_REASONS else (error_class, "other reasons")
