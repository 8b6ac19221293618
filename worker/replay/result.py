"""The result of a replay."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from worker.core.errors import ErrorClass
from worker.replay.plan import ReplaySelection

_MAX_REASON = 200
"""Characters."""
_MAX_REASONS = 100


@dataclass
class ReplayResult:
    """What became of the chosen dead letters, counted by class.

    Attributes:
        selection: the dead letters that were read.
        complete: whether all were read; not if the replay ended early.
        written: everything in them is rows now, or skipped by a documented rule.
        failed_again: something in them failed again and has a new dead letter.
        failed_as: metrics and events with a new dead letter, by the class of the new one.
        unreplayable: they could not be replayed and stay open, by class and reason.
        problem: why the replay ended early, or None.
    """

    selection: ReplaySelection
    complete: bool = False
    written: Counter[ErrorClass] = field(default_factory=Counter)
    failed_again: Counter[ErrorClass] = field(default_factory=Counter)
    failed_as: Counter[ErrorClass] = field(default_factory=Counter)
    unreplayable: Counter[tuple[ErrorClass, str]] = field(default_factory=Counter)
    metrics_written: int = 0
    problem: str | None = None
    interrupted: bool = False

    def count_unreplayable(self, error_class: ErrorClass, reason: str) -> None:
        """Count a dead letter that stays open."""
        self.unreplayable[bounded_reason(self.unreplayable, error_class, reason)] += 1

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
