"""Counting dead letters in bounded memory, whatever their names are."""

from collections import Counter

from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.value import parse_agent_name

_MAX_DISTINCT = 10_000
"""Different values of one kind that are told apart. The first ones are: an attack with names does not cost memory."""
_MAX_LENGTH = 256
_HOUR = 3_600_000


class TopCounter:
    """Counts values; those that come when there are too many different ones are counted together."""

    def __init__(self, distinct: int = _MAX_DISTINCT) -> None:
        self._counts: Counter[str | None] = Counter()
        self._distinct = distinct
        self.others = 0

    def count(self, value: str | None) -> None:
        """Count one."""
        if value in self._counts or len(self._counts) < self._distinct:
            self._counts[value] += 1
        else:
            self.others += 1

    def most_common(self, count: int) -> list[tuple[str | None, int]]:
        """The most frequent values, and how often each came."""
        return self._counts.most_common(count)

    def count_others(self, count: int) -> int:
        """How many are not among the `most`."""
        return self._counts.total() - sum(number for _, number in self.most_common(count)) + self.others


class DeadLetterStatistics:
    """What the letters are that it was shown.

    Attributes:
        total: letters.
        foreign: records that are no dead letters.
        replayed: letters that have been replayed before.
        most_replays: how often the one was that was replayed most.
        oldest, newest: when the first and the last failed, in milliseconds since 1970; None without letters.
        by: counts by class, code, metric, agent, partition (of the source) and hour (UTC, milliseconds of its begin);
            None is counted where a letter has no such thing.
    """

    KINDS = ("class", "code", "metric", "agent", "partition", "hour")

    def __init__(self) -> None:
        self.total = self.foreign = self.replayed = self.most_replays = 0
        self.oldest: int | None = None
        self.newest: int | None = None
        self.by = {kind: TopCounter() for kind in self.KINDS}

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        """Count one."""
        if isinstance(item, ForeignRecord):
            self.foreign += 1
            return
        self.total += 1
        self.replayed += item.replays > 0
        self.most_replays = max(self.most_replays, item.replays)
        at = item.failed_at
        self.oldest = at if self.oldest is None else min(self.oldest, at)
        self.newest = at if self.newest is None else max(self.newest, at)
        topic, partition, _ = item.source
        agent = parse_agent_name(item)
        by = self.by
        by["class"].count(item.failure.error_class.value)
        by["code"].count(None if item.failure.code is None else str(item.failure.code))
        by["metric"].count(None if item.metric is None else item.metric[:_MAX_LENGTH])
        by["agent"].count(None if agent is None else agent[:_MAX_LENGTH])
        by["partition"].count(f"{topic[:_MAX_LENGTH]}/{partition}")
        by["hour"].count(str(at // _HOUR * _HOUR))
