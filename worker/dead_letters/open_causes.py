"""Counts open dead letters by cause, and finds out since when there are dead letters of each cause."""

from collections import Counter
from collections.abc import Set
from heapq import nlargest

from worker.core.errors import ErrorClass
from worker.dead_letters.causes import FOREIGN, find_cause
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.observability.open_dead_letters import OpenCause, OpenDeadLetters

OTHER = "other"
"""Stands for all causes that are not counted separately."""
_MAX_CAUSES = 100_000
"""Causes that are remembered: the metric name of a producer can be a part of one. About 250 bytes for each."""


class OpenCauses:
    """Is shown all dead letters of the topic.

    The settled ones count for the time at which a cause was first seen: a cause that comes back after it was settled,
    or that was replayed and failed again, is not new. Dead letters of causes after the first `max_causes` are counted
    by class only.
    """

    def __init__(self, max_causes: int = _MAX_CAUSES) -> None:
        self._max_causes = max_causes
        self._first_seen: dict[str, int] = {}
        self._classes: dict[str, ErrorClass] = {}  # of the open causes
        self._counts: Counter[str] = Counter()
        self._by_class: Counter[ErrorClass] = Counter()
        self._foreign = 0
        self._oldest_failure: int | None = None
        self._oldest_timestamp: int | None = None

    def add(self, item: DeadLetter | ForeignRecord, *, is_open: bool) -> None:
        """Add one record."""
        if isinstance(item, ForeignRecord):
            self._foreign += item.records if is_open else 0
            return
        cause = find_cause(item)
        at, timestamp = item.failed_at, item.record.timestamp
        seen = timestamp if timestamp >= 0 else at
        known = self._first_seen.get(cause.id)
        is_counted = known is not None or len(self._first_seen) < self._max_causes
        if is_counted:
            self._first_seen[cause.id] = seen if known is None else min(known, seen)
        if not is_open:
            return
        self._by_class[cause.error_class] += 1
        self._oldest_failure = at if self._oldest_failure is None else min(self._oldest_failure, at)
        if timestamp >= 0:
            oldest = self._oldest_timestamp
            self._oldest_timestamp = timestamp if oldest is None else min(oldest, timestamp)
        if is_counted:
            self._counts[cause.id] += 1
            self._classes[cause.id] = cause.error_class

    def summarize(self, limit: int = 100) -> OpenDeadLetters:
        """The `limit` causes with the most open dead letters, the others by class, and foreign records.

        Each class is there, also without open dead letters.
        """
        largest = nlargest(limit, self._counts, key=self._counts.__getitem__)
        causes = [self._describe(cause) for cause in largest]
        shown = set(largest)
        causes += [self._describe_others(error_class, shown) for error_class in ErrorClass]
        causes.append(OpenCause(FOREIGN, FOREIGN, self._foreign, None))
        return OpenDeadLetters(causes, _seconds(self._oldest_failure), _seconds(self._oldest_timestamp))

    def _describe(self, cause: str) -> OpenCause:
        return OpenCause(self._classes[cause].value, cause, self._counts[cause], self._first_seen[cause] / 1000)

    def _describe_others(self, error_class: ErrorClass, shown: Set[str]) -> OpenCause:
        causes = [cause for cause, its in self._classes.items() if its is error_class]
        count = self._by_class[error_class] - sum(self._counts[cause] for cause in causes if cause in shown)
        latest = max((self._first_seen[cause] for cause in causes if cause not in shown), default=None)
        return OpenCause(error_class.value, OTHER, count, _seconds(latest))


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
