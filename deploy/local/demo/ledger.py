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


class Place(NamedTuple):
    """Where a record is on the topic."""

    partition: int
    offset: int


class Sent(NamedTuple):
    """An event whose metrics are owed as rows; `version` decides between two of the same execution."""

    owner: tuple[str, str, int]
    place: Place
    version: int
    rows: dict[str, float]


class Owed(NamedTuple):
    """A dead letter that must come: its class, and the number as it was written or the digest of the bytes."""

    error_class: str
    proof: str


class Ledger:
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
        self.letters: dict[tuple[Place, str | None], Owed] = {}
        self._paths = {digit: directory / f"rows-{digit}" for digit in PAGES}
        self._open = ExitStack()
        self._pages = {digit: self._open.enter_context(path.open("wb")) for digit, path in self._paths.items()}

    def __enter__(self) -> Ledger:
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

    def enter(self, message: Message, place: Place, timestamp: int) -> None:
        """Take down one record; `timestamp` is the record's, in milliseconds."""
        self.records += 1
        self.ends[place.partition] = max(place.offset + 1, self.ends.get(place.partition, 0))
        if message.value is None:
            self.tombstones += 1
            return
        reading = read(message.value, message.headers, timestamp)
        if reading.owner is None:
            self.letters[place, None] = Owed("invalid_event", sha256(message.value).hexdigest())
            return
        self._enter_event(reading, reading.owner, place, timestamp)

    def _enter_event(self, reading: Reading, owner: tuple[str, str, int], place: Place, timestamp: int) -> None:
        self.events += 1
        self.metrics += reading.metrics
        self.skipped += reading.skipped
        for metric, refused in reading.refused.items():
            self.letters[place, metric] = Owed(*refused)
        if reading.rows:
            self.rows += len(reading.rows)
            pickle.dump(tuple(Sent(owner, place, timestamp, reading.rows)), self._pages[owner[0][0]])

    @property
    def failed_metrics(self) -> int:
        """How many metrics are owed as dead letters."""
        return sum(metric is not None for _, metric in self.letters)

    def page(self, digit: str) -> Iterator[Sent]:
        """The events of the executions whose id begins with `digit`."""
        with self._paths[digit].open("rb") as page:
            while page.peek(1):
                yield Sent(*pickle.load(page))  # noqa: S301 - written by this process
