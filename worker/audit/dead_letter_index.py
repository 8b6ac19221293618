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
_DISCARDED, _EDITED = "discarded ", "edited"
"""What has settled a dead letter: the reason follows the former, which is also the lesser text."""
_CACHE_KIB = 16_384
_TABLE = """
CREATE TABLE letters (at INTEGER, source INTEGER, what BLOB, settled TEXT, PRIMARY KEY (at, source, what)) STRICT
"""
_ADD = """
INSERT INTO letters VALUES (?, ?, ?, ?)
ON CONFLICT (at, source, what) DO UPDATE SET settled = CASE WHEN excluded.settled < settled THEN excluded.settled END
WHERE excluded.settled IS NULL OR excluded.settled < settled
"""
_FIND = """
SELECT min(settled), count(*), count(settled) FROM letters WHERE at = ? AND source = ? AND what IN (?, ?, ?)
"""


class IndexedLetter(NamedTuple):
    """A dead letter; `discarded` is the reason for which it was given up. It is open if it was not edited either."""

    discarded: str | None
    is_edited: bool


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

    def add(self, item: DeadLetter | ForeignRecord, *, discarded: str | None = None, is_edited: bool = False) -> None:
        """Index a dead letter if its source is in the ranges.

        Args:
            item: other records are ignored.
            discarded: the reason, if it was given up.
            is_edited: whether it was replayed with another event.
        """
        if isinstance(item, ForeignRecord):
            return
        topic, partition, offset = item.source
        if topic == self._topic and offset in self._ranges.get(partition, range(0)):
            settled = _EDITED if is_edited else _encode_reason(discarded)
            self._execute(_ADD, (partition, offset, _entry(item), settled))
            if item.replaced_metric is not None:  # the record has this name
                self._execute(_ADD, (partition, offset, _METRIC + _encode(item.replaced_metric), settled))

    def find(self, partition: int, offset: int, metric: str | None) -> IndexedLetter | None:
        """A dead letter of `metric` or of the whole record; None asks for the record.

        An open one if there is one; else one that was discarded rather than one that was edited.
        """
        entries = (_EVENT,) * 3
        if metric is not None:
            # The header of a pointer holds only the beginning of a long name.
            entries = (_EVENT, _METRIC + _encode(metric), _METRIC + format_metric_header(metric).encode())
        state, letters, settled = self._execute(_FIND, (partition, offset, *entries)).fetchone()
        if not letters:
            return None
        if letters > settled:
            return IndexedLetter(None, is_edited=False)
        return IndexedLetter(None if state == _EDITED else state.removeprefix(_DISCARDED), state == _EDITED)

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


def _encode_reason(discarded: str | None) -> str | None:
    return None if discarded is None else _DISCARDED + discarded
