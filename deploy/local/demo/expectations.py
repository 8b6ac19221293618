"""What was sent, and what must become of it. Rows are kept in files, so that a long stream needs little memory."""

from __future__ import annotations

import pickle
from collections import Counter
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import Reading, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from deploy.local.demo.careless import Message

PAGES = "0123456789abcdef"
"""A page for each first digit of an execution_id."""


class RecordPosition(NamedTuple):
    """Where a record is on the topic."""

    partition: int
    offset: int


class ExpectedRows(NamedTuple):
    """An event whose metrics are owed as rows; `version` decides between two of the same execution."""

    owner: tuple[str, str, int]
    position: RecordPosition
    version: int
    rows: dict[str, float]


class ExpectedDeadLetter(NamedTuple):
    """A dead letter that must come: its class, and the number as it was written or the digest of the bytes."""

    error_class: str
    proof: str


class Expectations:
    """Takes down every record that the topic has acknowledged.

    Attributes:
        records: how many there are.
        events: how many of them are events.
        tombstones: how many have no value.
        metrics: how many metrics the events have; those in what is no event cannot be counted.
        rows: how many of them are owed as rows, those that a later event replaces included.
        skipped: how many of them must be skipped, by JSON type.
        ends: the offset after the last record, by partition.
        letters: the dead letters that are owed, by place and metric; None stands for the whole event.
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
        """End the writing; the pages can be read after that."""
        self._open.close()

    def flush(self) -> None:
        """Make what has been entered so far readable, while nobody enters more."""
        for page in self._pages.values():
            page.flush()

    def enter(self, message: Message, position: RecordPosition, timestamp: int) -> None:
        """Take down one record; `timestamp` is the record's, in milliseconds."""
        self.records += 1
        self.ends[position.partition] = max(position.offset + 1, self.ends.get(position.partition, 0))
        if message.value is None:
            self.tombstones += 1
            return
        reading = read(message.value, message.headers, timestamp)
        if reading.owner is None:
            self.letters[position, None] = ExpectedDeadLetter("invalid_event", sha256(message.value).hexdigest())
            return
        self._enter_event(reading, reading.owner, position, timestamp)

    def _enter_event(
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
        """How many metrics are owed as dead letters."""
        return sum(metric is not None for _, metric in self.letters)

    def page(self, digit: str) -> Iterator[ExpectedRows]:
        """The events of the executions whose id begins with `digit`."""
        with self._paths[digit].open("rb") as page:
            while page.peek(1):
                yield ExpectedRows(*pickle.load(page))  # noqa: S301 - written by this process
