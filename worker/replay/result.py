"""The result of a replay."""

from collections import Counter
from dataclasses import dataclass, field

from worker.core.errors import ErrorClass


@dataclass
class ReplayResult:
    """What became of the chosen dead letters, counted by class.

    Attributes:
        written: everything in them is rows now, or skipped by a documented rule.
        failed_again: something in them failed again and has a new dead letter.
        failed_as: metrics and events with a new dead letter, by the class of the new one.
        unreplayable: they could not be replayed and stay open, by class and reason.
        problem: why the replay ended early, or None.
    """

    written: Counter[ErrorClass] = field(default_factory=Counter)
    failed_again: Counter[ErrorClass] = field(default_factory=Counter)
    failed_as: Counter[ErrorClass] = field(default_factory=Counter)
    unreplayable: Counter[tuple[ErrorClass, str]] = field(default_factory=Counter)
    metrics_written: int = 0
    problem: str | None = None
    interrupted: bool = False

    @property
    def by_class(self) -> Counter[ErrorClass]:
        """Processed dead letters of each class."""
        unreplayable: Counter[ErrorClass] = Counter()
        for (error_class, _), count in self.unreplayable.items():
            unreplayable[error_class] += count
        return self.written + self.failed_again + unreplayable
