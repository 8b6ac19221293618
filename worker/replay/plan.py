"""Which dead letters a replay takes, and what is known of them before anything is written."""

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.value import DamagedLetter
from worker.events.fan_out import FanOut
from worker.replay.contents import fan_out_contents

if TYPE_CHECKING:
    from worker.core.errors import ErrorClass


@dataclass(frozen=True)
class ReplayPolicy:
    """What a replay takes, and how fast.

    Attributes:
        filter: which letters are meant.
        max_replays: a letter that was replayed so often is left alone, from 1.
        limit: letters at most; None for all.
        metrics_per_second: metrics at most, on average; None for as many as possible.
        max_metrics, max_bytes: how much makes a block. A letter that is larger is a block of its own.

    Raises:
        ValueError: a number is out of its bounds.
    """

    filter: DeadLetterFilter = field(default_factory=DeadLetterFilter)
    max_replays: int = 5
    limit: int | None = None
    metrics_per_second: float | None = None
    max_metrics: int = 20_000
    max_bytes: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in ("max_replays", "limit", "metrics_per_second", "max_metrics", "max_bytes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < inf:
                raise ValueError(f"{name} must be more than 0 and finite, not {value}")

    @property
    def block_metrics(self) -> int:
        """How many metrics make a block: with a rate, a second's worth."""
        if self.metrics_per_second is None:
            return self.max_metrics
        return max(1, min(self.max_metrics, int(self.metrics_per_second)))

    def includes(self, item: DeadLetter | ForeignRecord) -> bool:
        """Whether somebody expects a replay to deal with `item`."""
        return self.filter.matches(item) if isinstance(item, DeadLetter) else self.filter.matches_all

    def is_exhausted(self, letter: DeadLetter) -> bool:
        """Whether `letter` was replayed too often to be replayed again."""
        return letter.replays >= self.max_replays


class ReplayPlan:
    """What a replay would do, as far as a look at the topic tells.

    Attributes:
        chosen: letters to be replayed, by class.
        exhausted: letters that are meant but were replayed too often, by class.
        beyond_limit: letters that are meant and not chosen, because there is a limit, by class.
        foreign: records that are no dead letters, where everything is meant.
        other_tables: letters that were meant for another table than `table`, by that.
        accepted: chosen letters that the worker of today would try to write, by class; only where `dry_run`.
        refused: chosen letters that it would refuse, by class and rule; only where `dry_run`.
        at_source: chosen letters whose contents are at their source, by class; only where `dry_run`.

    Args:
        policy: what is taken.
        table: what this worker writes.
        dry_run: whether to read the contents, as a dry run does.
    """

    def __init__(self, policy: ReplayPolicy, table: str, *, dry_run: bool = False) -> None:
        self._policy = policy
        self._table = table
        self._dry_run = dry_run
        self.chosen: Counter[ErrorClass] = Counter()
        self.exhausted: Counter[ErrorClass] = Counter()
        self.beyond_limit: Counter[ErrorClass] = Counter()
        self.foreign = 0
        self.other_tables: Counter[str] = Counter()
        self.accepted: Counter[ErrorClass] = Counter()
        self.refused: Counter[tuple[ErrorClass, str]] = Counter()
        self.at_source: Counter[ErrorClass] = Counter()

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        """Take one letter into account."""
        policy = self._policy
        if not policy.includes(item):
            return
        if isinstance(item, ForeignRecord):
            self.foreign += 1
            return
        error_class = item.failure.error_class
        if policy.is_exhausted(item):
            self.exhausted[error_class] += 1
        elif policy.limit is not None and self.chosen.total() >= policy.limit:
            self.beyond_limit[error_class] += 1
        else:
            self.chosen[error_class] += 1
            if item.table != self._table:
                self.other_tables[item.table] += 1
            if self._dry_run:
                self._try(item)

    @property
    def remaining(self) -> int:
        """Letters that are meant and not chosen."""
        return self.exhausted.total() + self.beyond_limit.total() + self.foreign

    def _try(self, letter: DeadLetter) -> None:
        error_class = letter.failure.error_class
        if letter.needs_source_record:
            self.at_source[error_class] += 1
            return
        fanned = FanOut()
        try:
            fan_out_contents(letter, fanned)
        except DamagedLetter:
            self.refused[error_class, "DamagedLetter"] += 1
            return
        if fanned.failed:
            self.refused[error_class, fanned.failed[0].failure.error_type] += 1
        else:
            self.accepted[error_class] += 1
