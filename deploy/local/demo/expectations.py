"""What was sent, and what must become of it. Rows are kept in files, so that a long stream needs little memory."""

from __future__ import annotations

import pickle
from collections import Counter
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import Reading, read_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from deploy.local.demo.careless import Message

PAGES = "0123456789abcdef"
"""There is a page of rows for each first digit of an execution_id."""


class RecordPosition(NamedTuple):
    """Partition and offset of a record of the event topic."""

    partition: int
    offset: int


class ExpectedRows(NamedTuple):
    """An event whose metrics must become rows; of two events of one execution the higher `version` wins."""

    owner: tuple[str, str, int]
    position: RecordPosition
    version: int
    rows: dict[str, float]


class ExpectedDeadLetter(NamedTuple):
    """`content` is the number of a metric as it was written, or the SHA-256 of the bytes of an event."""

    error_class: str
    content: str


class Expectations:
    """The expected rows, dead letters and skipped metrics of every record that the topic has acknowledged.

    Attributes:
        records: number of records.
        events: number of records that are events.
        tombstones: number of records without a value.
        metrics: number of metrics of the events; those of an unreadable record cannot be counted.
        rows: number of metrics that must become rows, those that a later event replaces included.
        skipped: number of metrics that must be skipped, by JSON type.
        ends: the offset after the last record, by partition.
        letters: the expected dead letters by position and metric; metric None for a whole event.
    """

    def __init__(self, directory: Path) -> None:
        self.records = self.events = self.tombstones = self.metrics = self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.ends: dict[int, int] = {}
        self.letters: dict[tuple[RecordPosition, str | None], ExpectedDeadLetter] = {}
        self._paths = {digit: directory / f"rows-{digit}" for digit in PAGES}
        self._open = ExitStack()
        self._pages = {digit: self._open.enter_context(path.open("wb")) for digit, path in self._paths.items()}

    def __enter__(self) -> Expectations:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pages for writing; they can still be read."""
        self._open.close()

    def flush(self) -> None:
        """Make the rows that were added so far readable."""
        for page in self._pages.values():
            page.flush()

    def add_record(self, message: Message, position: RecordPosition, timestamp: int) -> None:
        """Add one acknowledged record; `timestamp` is the record's, in milliseconds."""
        self.records += 1
        self.ends[position.partition] = max(position.offset + 1, self.ends.get(position.partition, 0))
        if message.value is None:
            self.tombstones += 1
            return
        reading = read_event(message.value, message.headers, timestamp)
        if reading.owner is None:
            self.letters[position, None] = ExpectedDeadLetter("invalid_event", sha256(message.value).hexdigest())
            return
        self._add_event(reading, reading.owner, position, timestamp)

    def _add_event(
        self, reading: Reading, owner: tuple[str, str, int], position: RecordPosition, timestamp: int
    ) -> None:
        self.events += 1
        self.metrics += reading.metrics
        self.skipped += reading.skipped
        for metric, refused in reading.refused.items():
            self.letters[position, metric] = ExpectedDeadLetter(*refused)
        if reading.rows:
            self.rows += len(reading.rows)
            pickle.dump(tuple(ExpectedRows(owner, position, timestamp, reading.rows)), self._pages[owner[0][0]])

    @property
    def failed_metrics(self) -> int:
        """How many metrics must become dead letters."""
        return sum(metric is not None for _, metric in self.letters)

    def read_page(self, digit: str) -> Iterator[ExpectedRows]:
        """The events of the executions whose id begins with `digit`."""
        with self._paths[digit].open("rb") as page:
            while page.peek(1):
                yield ExpectedRows(*pickle.load(page))  # noqa: S301 - written by this process
