"""Statistics of dead letters, in memory that does not grow with hostile input."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import nlargest

from worker.core.model import DeadLetterPosition
from worker.dead_letters.causes import DeadLetterCause, find_cause
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.value import parse_agent_name

_MAX_DISTINCT = 10_000
"""Distinct values of one dimension that are counted separately."""
_MAX_LENGTH = 256
"""Characters of a value."""
_MAX_UNCOUNTED = 1_000
"""Combinations of values that are not counted yet; anybody can write to the topic."""
_MAX_AGENTS = 5
"""Of one cause."""
_HOUR = 3_600_000
_Combination = tuple[str, str, int | None, str | None, str, int, int]
"""Class, type, code, metric, topic and partition of the source, hour."""


class TopCounter:
    """Counts values. Values that come after the first `distinct` different ones are counted together."""

    def __init__(self, distinct: int = _MAX_DISTINCT) -> None:
        self._counts: Counter[str | None] = Counter()
        self._distinct = distinct
        self._others = 0

    def count(self, value: str | None, number: int = 1) -> None:
        """Count `number` occurrences of `value`."""
        if value in self._counts or len(self._counts) < self._distinct:
            self._counts[value] += number
        else:
            self._others += number

    def most_common(self, limit: int) -> list[tuple[str | None, int]]:
        """Return the most frequent values and their counts."""
        return self._counts.most_common(limit)

    def count_others(self, limit: int) -> int:
        """Return how many occurrences are not among the `most_common`."""
        return self._counts.total() - sum(number for _, number in self.most_common(limit)) + self._others


class DeadLetterStatistics:
    """Statistics of the visited dead letters.

    Attributes:
        foreign: number of records that are not dead letters.
        replayed, most_replays: dead letters that were replayed before, and the most replays of one of them.
        oldest, newest: first and last time of failure, in milliseconds since 1970; None without dead letters.
    """

    DIMENSIONS = ("class", "type", "code", "metric", "agent", "partition", "hour")

    def __init__(self) -> None:
        self.total = self.foreign = self.replayed = self.most_replays = 0
        self.oldest: int | None = None
        self.newest: int | None = None
        self._by = {dimension: TopCounter() for dimension in self.DIMENSIONS}
        self._uncounted: dict[_Combination, int] = {}

    @property
    def by(self) -> Mapping[str, TopCounter]:
        """The counts by class, type, code, metric, agent, partition (of the source), hour (its start in milliseconds).

        None is counted for a dead letter without such a value.
        """
        self._count()
        return self._by

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        """Count one record."""
        if isinstance(item, ForeignRecord):
            self.foreign += item.records
            return
        self.total += 1
        self.replayed += item.replays > 0
        self.most_replays = max(self.most_replays, item.replays)
        at = item.failed_at
        self.oldest = at if self.oldest is None else min(self.oldest, at)
        self.newest = at if self.newest is None else max(self.newest, at)
        agent = parse_agent_name(item)
        self._by["agent"].count(None if agent is None else agent[:_MAX_LENGTH])
        combination = (
            item.failure.error_class.value,
            item.failure.error_type[:_MAX_LENGTH],
            item.failure.code,
            None if item.metric is None else item.metric[:_MAX_LENGTH],
            item.source[0][:_MAX_LENGTH],
            item.source[1],
            at // _HOUR,
        )
        self._uncounted[combination] = self._uncounted.get(combination, 0) + 1
        if len(self._uncounted) >= _MAX_UNCOUNTED:
            self._count()

    def _count(self) -> None:
        """Count the dead letters of each combination at once: those of an outage have few."""
        by = self._by
        for (error_class, error_type, code, metric, topic, partition, hour), number in self._uncounted.items():
            by["class"].count(error_class, number)
            by["type"].count(error_type, number)
            by["code"].count(None if code is None else str(code), number)
            by["metric"].count(metric, number)
            by["partition"].count(f"{topic}/{partition}", number)
            by["hour"].count(str(hour * _HOUR), number)
        self._uncounted.clear()


@dataclass
class CauseGroup:
    """The dead letters of one cause.

    Attributes:
        example: position of the latest one.
        oldest, newest: first and last time of failure, in milliseconds since 1970.
        agents: some of them, in the order of the topic.
        has_more_agents: whether there are others.
    """

    cause: DeadLetterCause
    example: DeadLetterPosition
    oldest: int
    newest: int
    count: int = 0
    agents: dict[str, None] = field(default_factory=dict)
    has_more_agents: bool = False

    def add(self, letter: DeadLetter) -> None:
        """Add a dead letter of this cause."""
        self.count += 1
        self.oldest = min(self.oldest, letter.failed_at)
        if letter.failed_at >= self.newest:
            self.newest, self.example = letter.failed_at, letter.position
        if not self.has_more_agents and (agent := parse_agent_name(letter)) is not None:  # it parses the value
            agent = agent[:_MAX_LENGTH]
            self.has_more_agents = agent not in self.agents and len(self.agents) == _MAX_AGENTS
            if not self.has_more_agents:
                self.agents[agent] = None


class CauseStatistics:
    """The visited dead letters by cause. Those of causes after the first `distinct` different ones are only counted.

    Attributes:
        total: number of dead letters.
        foreign: number of records that are not dead letters.
    """

    def __init__(self, distinct: int = _MAX_DISTINCT) -> None:
        self._groups: dict[str, CauseGroup] = {}
        self._distinct = distinct
        self.total = self.foreign = 0

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        """Count one record."""
        if isinstance(item, ForeignRecord):
            self.foreign += item.records
            return
        self.total += 1
        cause = find_cause(item)
        group = self._groups.get(cause.id)
        if group is None:
            if len(self._groups) >= self._distinct:
                return
            group = self._groups[cause.id] = CauseGroup(cause, item.position, item.failed_at, item.failed_at)
        group.add(item)

    def find(self, cause: str) -> CauseGroup | None:
        """Return the group of the cause with this ID."""
        return self._groups.get(cause)

    def newest_first(self) -> list[CauseGroup]:
        """Return all groups, by the last time of failure."""
        return sorted(self._groups.values(), key=lambda group: group.newest, reverse=True)

    def most_common(self, limit: int) -> list[CauseGroup]:
        """Return the groups with the most dead letters."""
        return nlargest(limit, self._groups.values(), key=lambda group: group.count)

    def count_others(self, limit: int) -> int:
        """Return how many dead letters are not among the `most_common`."""
        return self.total - sum(group.count for group in self.most_common(limit))
