"""What was sent, and what must become of it. Rows are kept in files, so that a long stream needs little memory."""

from __future__ import annotations

import pickle
from collections import Counter
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from deploy.local.demo.reference import Reading, read_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from deploy.local.demo.careless import Headers, Message

PAGES = range(16)
"""There is a page of rows for each remainder of the CRC-32 of an execution_id."""
DAY = 86_400_000
_NOTHING = sha256(b"").hexdigest()


class RecordPosition(NamedTuple):
    """Partition and offset of a record of the event topic."""

    partition: int
    offset: int


LetterKey = tuple[RecordPosition, str | None]
"""Source record and metric; None for a whole event."""


class EventFields(NamedTuple):
    """What all rows and dead letters of an event share; times in milliseconds since 1970."""

    position: RecordPosition
    execution: str
    agent: str
    user: str | None
    labels: tuple[tuple[str, str], ...]
    completed_at: int
    recorded_at: int

    @property
    def version(self) -> tuple[int, int]:
        """Of two rows of one execution, metric and day the higher one stays."""
        return self.recorded_at, self.position.offset


class ExpectedRows(NamedTuple):
    """An event whose metrics must become rows; of two events of one execution the higher `version` wins."""

    event: EventFields
    rows: dict[str, float]

    @property
    def owner(self) -> tuple[str, str, int]:
        """Execution, agent and day."""
        return self.event.execution, self.event.agent, self.event.completed_at // DAY


class SourceRecord(NamedTuple):
    """What a dead letter must keep of its source record; `size` is of the value, in bytes."""

    timestamp: int
    size: int
    key: bytes | None
    headers: Headers


class ExpectedDeadLetter(NamedTuple):
    """A dead letter of a metric or of a whole event.

    Attributes:
        content: the number of a metric as it was written, or the SHA-256 of the bytes of an event.
        event: the event of the metric; None for a whole event.
        error_type: empty for any.
    """

    error_class: str
    content: str
    source: SourceRecord
    event: EventFields | None = None
    error_type: str = ""


class Expectations:
    """The expected rows, dead letters and skipped metrics of every record that the topic has acknowledged.

    `label_attributes` are as in `read_event`.

    Attributes:
        records: number of records.
        events: number of records that are events.
        tombstones: number of records without a value.
        metrics: number of metrics of the events; those of an unreadable record cannot be counted.
        rows: number of metrics that must become rows, those that a later event replaces included.
        skipped: number of metrics that must be skipped, by JSON type.
        skipped_labels: number of labels that must be skipped, by reason.
        ends: the offset after the last record, by partition.
        letters: the expected dead letters.
    """

    def __init__(self, directory: Path, label_attributes: Sequence[str] = ()) -> None:
        self._label_attributes = label_attributes
        self.records = self.events = self.tombstones = self.metrics = self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.skipped_labels: Counter[str] = Counter()
        self.ends: dict[int, int] = {}
        self.letters: dict[LetterKey, ExpectedDeadLetter] = {}
        self._expired: dict[int, range] = {}
        self._paths = {page: directory / f"rows-{page}" for page in PAGES}
        self._open = ExitStack()
        self._pages = {page: self._open.enter_context(path.open("wb")) for page, path in self._paths.items()}

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
        self._count_record(position)
        if message.value is None:
            self.tombstones += 1
            return
        reading = read_event(message.value, message.headers, timestamp, label_attributes=self._label_attributes)
        source = SourceRecord(timestamp, len(message.value), message.key, message.headers)
        if reading.owner is None:
            digest = sha256(message.value).hexdigest()
            self.letters[position, None] = ExpectedDeadLetter("invalid_event", digest, source)
        else:
            self._add_event(reading, reading.owner, position, source)

    def add_unparsable(self, position: RecordPosition, error_type: str = "UnreadableRecord") -> None:
        """Add a record that the Kafka client cannot parse: its dead letter has its position and nothing else."""
        self._count_record(position)
        source = SourceRecord(-1, 0, None, ())
        self.letters[position, None] = ExpectedDeadLetter("invalid_event", _NOTHING, source, None, error_type)

    def expire(self, partition: int, offsets: range) -> None:
        """Expect nothing of these records: they were deleted before anybody read them. One range for each partition."""
        self._expired[partition] = offsets
        self.letters = {key: letter for key, letter in self.letters.items() if not self._has_expired(key[0])}

    def _has_expired(self, position: RecordPosition) -> bool:
        return position.offset in self._expired.get(position.partition, ())

    def _count_record(self, position: RecordPosition) -> None:
        self.records += 1
        self.ends[position.partition] = max(position.offset + 1, self.ends.get(position.partition, 0))

    def _add_event(
        self, reading: Reading, owner: tuple[str, str, int], position: RecordPosition, source: SourceRecord
    ) -> None:
        self.events += 1
        self.metrics += reading.metrics
        self.skipped += reading.skipped
        self.skipped_labels += reading.skipped_labels
        execution, agent, _ = owner
        event = EventFields(
            position, execution, agent, reading.user, reading.labels, reading.completed_at, reading.recorded_at
        )
        for metric, (error_class, literal) in reading.refused.items():
            self.letters[position, metric] = ExpectedDeadLetter(error_class, literal, source, event)
        if reading.rows:
            self.rows += len(reading.rows)
            pickle.dump((tuple(position), event[1:], reading.rows), self._pages[crc32(execution.encode()) % len(PAGES)])

    @property
    def unreadable(self) -> int:
        """How many records are no events, and must become dead letters as a whole."""
        return self.records - self.events - self.tombstones

    @property
    def whole_records(self) -> int:
        """How many records are no events, tombstones included."""
        return self.records - self.events

    def read_page(self, page: int) -> Iterator[ExpectedRows]:
        """The events of the executions of one of `PAGES`."""
        with self._paths[page].open("rb") as file:
            while file.peek(1):
                position, event, rows = pickle.load(file)  # noqa: S301 - written by this process
                expected = ExpectedRows(EventFields(RecordPosition(*position), *event), rows)
                if not self._has_expired(expected.event.position):
                    yield expected
