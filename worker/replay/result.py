"""What became of the letters that a replay took."""

from collections import Counter
from dataclasses import dataclass, field

from worker.core.errors import ErrorClass


@dataclass
class ReplayResult:
    """What became of the chosen letters, by class.

    Attributes:
        written: all that was in them is rows now (or skipped by rule).
        failed_again: something of them failed again, and has a new dead letter.
        failed_as: metrics and events that have a new dead letter, by the class of that one.
        unreplayable: nothing could be done with them; they stand where they were, by class and reason.
        metrics_written: metrics that are rows now.
        problem: what ended the replay early, or None.
        interrupted: whether somebody asked it to stop.
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
        """How many of each class were looked at to the end."""
        left: Counter[ErrorClass] = Counter()
        for (error_class, _), count in self.unreplayable.items():
            left[error_class] += count
        return self.written + self.failed_again + left

    @property
    def processed(self) -> int:
        """Letters that were looked at to the end."""
        return self.written.total() + self.failed_again.total() + self.unreplayable.total()
