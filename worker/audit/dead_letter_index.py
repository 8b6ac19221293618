"""Which metrics and events of a range of records have a dead letter, in bounded memory."""

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from worker.core.errors import DependencyError
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.headers import MAX_METRIC_HEADER, format_metric_header
from worker.dead_letters.value import InvalidDeadLetter, parse_metric_event

_EVENT = b"e"
_METRIC = b"m"
_CACHE_KIB = 16_384
_TABLE = """
CREATE TABLE letters (at INTEGER, source INTEGER, what BLOB, discarded TEXT, PRIMARY KEY (at, source, what)) STRICT
"""
_ADD = """
INSERT INTO letters VALUES (?, ?, ?, ?)
ON CONFLICT (at, source, what) DO UPDATE SET discarded = NULL WHERE excluded.discarded IS NULL
"""
_FIND = """
SELECT min(discarded), count(*), count(discarded) FROM letters WHERE at = ? AND source = ? AND what IN (?, ?, ?)
"""


class IndexedLetter(NamedTuple):
    """A dead letter; `discarded` is the reason for which it was given up, None if it is open."""

    discarded: str | None


class DeadLetterIndex:
    """Dead letters by source record, those of `ranges` of `topic` only, in a temporary database that spills to disk.

    Raises DependencyError where it cannot be written.
    """

    def __init__(self, topic: str, ranges: Mapping[int, range]) -> None:
        self._topic = topic
        self._ranges = ranges
        # "": a private temporary file that SQLite deletes with the connection. Another thread may close the connection,
        # but no two threads use it at once.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            _TABLE,
            "BEGIN",  # never committed: the data is temporary
        ):
            self._execute(statement)

    def close(self) -> None:
        """Delete the database."""
        self._database.close()

    def add(self, item: DeadLetter | ForeignRecord, discarded: str | None = None) -> None:
        """Index a dead letter if its source is in the ranges; `discarded` is the reason, if it was given up."""
        if isinstance(item, ForeignRecord):
            return
        topic, partition, offset = item.source
        if topic == self._topic and offset in self._ranges.get(partition, range(0)):
            self._execute(_ADD, (partition, offset, _entry(item), discarded))

    def find(self, partition: int, offset: int, metric: str | None) -> IndexedLetter | None:
        """A dead letter of `metric` or of the whole record, an open one if there is one; None asks for the record."""
        entries = (_EVENT,) * 3
        if metric is not None:
            # The header of a pointer holds only the beginning of a long name.
            entries = (_EVENT, _METRIC + _encode(metric), _METRIC + format_metric_header(metric).encode())
        reason, letters, discarded = self._execute(_FIND, (partition, offset, *entries)).fetchone()
        return IndexedLetter(reason if letters == discarded else None) if letters else None

    def _execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, parameters)
        except sqlite3.OperationalError as error:
            raise DependencyError(
                f"no temporary folder can be written ({error}): set TMPDIR to one that has room for the dead letters"
            ) from error


def _entry(letter: DeadLetter) -> bytes:
    if letter.metric is None:
        return _EVENT
    name = letter.metric
    if len(name) >= MAX_METRIC_HEADER and not letter.is_pointer:
        with suppress(InvalidDeadLetter):  # else the header is all that is known
            (name,) = parse_metric_event(letter).metrics
    return _METRIC + _encode(name)


def _encode(metric: str) -> bytes:
    return metric.encode("utf-8", "backslashreplace")
