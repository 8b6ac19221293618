"""Which dead letters a replay processes, and what is known of them before anything is written."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.value import InvalidDeadLetter
from worker.events.decode import DEFAULT_POLICY, EventPolicy
from worker.events.fan_out import FanOut
from worker.replay.contents import fan_out_contents

if TYPE_CHECKING:
    from worker.core.errors import ErrorClass

_MAX_TABLES, _MORE_TABLES = 20, "other tables"
"""Tables that are counted separately; anybody can write to the topic."""


@dataclass(frozen=True)
class ReplayPolicy:
    """Which dead letters to replay, and how fast.

    Attributes:
        max_replays: dead letters that were replayed so many times are not replayed again; at least 1.
        limit: at most so many dead letters; None for all.
        table: only dead letters whose rows were for this table; None for any.
        metrics_per_second: at most so many metrics, on average; None for no limit.
        max_metrics, max_bytes: size of a batch. A larger dead letter is a batch of its own.
        event_policy: see `worker.events.decode.decode`; the timestamp is that of the source record.
        leaves_refused: dead letters of which this version refuses everything stay as they are.
    """

    filter: DeadLetterFilter = field(default_factory=DeadLetterFilter)
    max_replays: int = 5
    limit: int | None = None
    table: str | None = None
    metrics_per_second: float | None = None
    max_metrics: int = 20_000
    max_bytes: int = 8 * 1024 * 1024
    event_policy: EventPolicy = DEFAULT_POLICY
    leaves_refused: bool = False

    @property
    def batch_metrics(self) -> int:
        """Metrics of a batch: those of one second if there is a rate."""
        if self.metrics_per_second is None:
            return self.max_metrics
        return max(1, min(self.max_metrics, int(self.metrics_per_second)))


class ReplaySelection:
    """Which of the visited dead letters a replay chooses: their numbers, by class.

    Attributes:
        chosen: to be replayed.
        exhausted: selected, but replayed `max_replays` times already.
        beyond_limit: selected, but more than the limit; a replay ends its reading at the first one.
        foreign: records that are not dead letters, if everything is selected.
        other_tables: selected, but their rows were for another table; by that table, or together after the first ones.
        accepted: chosen, and this version would write them; only in a dry run, which decodes the contents.
        refused: chosen, but this version would refuse them, by class and rule; only in a dry run.
        at_source: chosen, but their contents are in the source record, which is not read; only in a dry run.
    """

    def __init__(self, policy: ReplayPolicy, *, dry_run: bool = False) -> None:
        self._policy = policy
        self._dry_run = dry_run
        self._counted = 0
        self.chosen: Counter[ErrorClass] = Counter()
        self.exhausted: Counter[ErrorClass] = Counter()
        self.beyond_limit: Counter[ErrorClass] = Counter()
        self.foreign = 0
        self.other_tables: Counter[str] = Counter()
        self.accepted: Counter[ErrorClass] = Counter()
        self.refused: Counter[tuple[ErrorClass, str]] = Counter()
        self.at_source: Counter[ErrorClass] = Counter()

    def visit(self, item: DeadLetter | ForeignRecord) -> bool:
        """Count one record; returns whether it is chosen."""
        policy = self._policy
        if not policy.filter.matches(item):
            return False
        if isinstance(item, ForeignRecord):
            self.foreign += item.records
            return False
        error_class = item.failure.error_class
        if item.replays >= policy.max_replays:
            self.exhausted[error_class] += 1
        elif policy.table is not None and policy.table != item.table:
            self.other_tables[self._limit_tables(item.table)] += 1
        elif self._counted == policy.limit:
            self.beyond_limit[error_class] += 1
        else:
            self._counted += 1
            self.chosen[error_class] += 1
            if self._dry_run:
                self._decode(item)
            return True
        return False

    def _limit_tables(self, table: str) -> str:
        known = self.other_tables
        return table if table in known or len(known) < _MAX_TABLES else _MORE_TABLES

    @property
    def has_reached_limit(self) -> bool:
        """Whether no more are chosen."""
        return self._counted == self._policy.limit

    def discount(self) -> None:
        """Do not count the last chosen dead letter towards the limit, which could never get beyond it."""
        self._counted -= 1

    @property
    def visited(self) -> int:
        """Selected records, chosen or not."""
        return self.chosen.total() + self.remaining

    @property
    def remaining(self) -> int:
        """Selected records that are not chosen."""
        return self.exhausted.total() + self.other_tables.total() + self.beyond_limit.total() + self.foreign

    def _decode(self, letter: DeadLetter) -> None:
        error_class = letter.failure.error_class
        if letter.needs_source_record:
            self.at_source[error_class] += 1
            return
        fan_out = FanOut(self._policy.event_policy)
        try:
            fan_out_contents(letter, fan_out)
        except InvalidDeadLetter:
            self.refused[error_class, "InvalidDeadLetter"] += 1
            return
        if fan_out.failed:
            self.refused[error_class, fan_out.failed[0].failure.error_type] += 1
        else:
            self.accepted[error_class] += 1
