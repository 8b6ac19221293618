"""How many dead letters were open at each time: known from the topic alone, which has every failure and settlement."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

_HOUR = 3_600_000
_MAX_HOURS = 30 * 24
"""What is earlier counts as before the first hour that is shown; anybody can write any time to the topic."""
_MIN_HOURS = 24


class HourlyCounts(NamedTuple):
    """How many dead letters were open at the end of each hour, the current one included.

    Attributes:
        first: when the first of these hours begins, in milliseconds since 1970.
    """

    first: int
    counts: Sequence[int]

    @property
    def highest(self) -> int:
        """The largest of the counts."""
        return max(self.counts)

    def extend(self, now: int) -> "HourlyCounts":
        """The counts up to a later time, if nothing has changed since."""
        missing = max(now // _HOUR + 1 - self.first // _HOUR - len(self.counts), 0)
        counts = [*self.counts, *[self.counts[-1]] * missing]
        too_many = max(len(counts) - _MAX_HOURS, 0)
        return HourlyCounts(self.first + too_many * _HOUR, counts[too_many:])


class OpenOverTime:
    """Counts what opened and what was settled by hour. What was settled and reopened counts as open all the time.

    Args:
        now: milliseconds since 1970.
    """

    def __init__(self, now: int) -> None:
        self._last = now // _HOUR
        self._earliest = self._last - _MAX_HOURS
        self._changes = Counter[int]()

    def add(self, failed_at: int, settled_at: int | None) -> None:
        """Add a dead letter, with the time when it was settled; None if it is open."""
        opened = self._hour_of(failed_at)
        self._changes[opened] += 1
        if settled_at is not None:
            self._changes[max(self._hour_of(settled_at), opened)] -= 1

    def summarize(self) -> HourlyCounts:
        """The counts from the first failure on, but of a day at least."""
        known = [hour for hour in self._changes if hour > self._earliest]
        first = min([self._last - _MIN_HOURS + 1, *known])
        before = self._changes[self._earliest] if self._changes else 0
        changes = [self._changes[hour] for hour in range(first, self._last + 1)]
        return HourlyCounts(first * _HOUR, list(accumulate(changes, initial=before))[1:])

    def _hour_of(self, milliseconds: int) -> int:
        return min(max(milliseconds // _HOUR, self._earliest), self._last)
