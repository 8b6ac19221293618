"""Which metrics and events of a range have a dead letter, in memory that does not grow with their number."""

import sqlite3
from collections.abc import Mapping

from worker.dead_letters.dead_letter import MAX_METRIC, metric_header
from worker.dead_letters.letter import DeadLetter, ForeignRecord
from worker.dead_letters.value import DamagedLetter, event_of

_EVENT = b"e"
_METRIC = b"m"
_CACHE_KIB = 16_384


class DeadLetterIndex:
    """Dead letters by the place of their source, in a temporary database that spills to disk.

    Args:
        topic: the source topic that is meant.
        ranges: the offsets of each of its partitions that are meant; letters of others are passed over.
    """

    def __init__(self, topic: str, ranges: Mapping[int, range]) -> None:
        self._topic = topic
        self._ranges = ranges
        # "": SQLite's own temporary file, which nobody else can name and which goes with the connection. Another thread
        # may close it, but two never use it at once.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE letters (at INTEGER, source INTEGER, what BLOB, PRIMARY KEY (at, source, what)) STRICT",
            "BEGIN",  # never committed: nothing of it is to stay
        ):
            self._database.execute(statement)

    def close(self) -> None:
        """Give the disk space back."""
        self._database.close()

    def add(self, item: DeadLetter | ForeignRecord) -> None:
        """Take one letter down, if it is of the range."""
        if isinstance(item, ForeignRecord):
            return
        topic, partition, offset = item.source
        if topic == self._topic and offset in self._ranges.get(partition, range(0)):
            self._database.execute("INSERT OR IGNORE INTO letters VALUES (?, ?, ?)", (partition, offset, _what(item)))

    def has_event(self, partition: int, offset: int) -> bool:
        """Whether the whole record at that place has a letter."""
        return self._has(partition, offset, _EVENT)

    def has_metric(self, partition: int, offset: int, metric: str) -> bool:
        """Whether `metric` of the record at that place has a letter, be it as a part of the whole record's."""
        # A pointer knows no more of a long name than the header does.
        names = {_METRIC + _bytes(metric), _METRIC + metric_header(metric).encode()}
        return any(self._has(partition, offset, what) for what in (*names, _EVENT))

    def _has(self, partition: int, offset: int, what: bytes) -> bool:
        found = self._database.execute(
            "SELECT 1 FROM letters WHERE at = ? AND source = ? AND what = ?", (partition, offset, what)
        )
        return found.fetchone() is not None


def _what(letter: DeadLetter) -> bytes:
    if letter.metric is None:
        return _EVENT
    if len(letter.metric) >= MAX_METRIC and not letter.is_pointer:
        try:
            (name,) = event_of(letter).metrics
        except DamagedLetter:
            name = letter.metric  # as much as is known
        return _METRIC + _bytes(name)
    return _METRIC + letter.metric.encode("utf-8", "backslashreplace")


def _bytes(metric: str) -> bytes:
    return metric.encode("utf-8", "backslashreplace")
