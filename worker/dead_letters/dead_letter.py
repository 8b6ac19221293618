"""Dead letters as they are on the topic. `worker.dead_letters.record_format` encodes and parses them."""

from typing import NamedTuple

from worker.core.errors import ErrorClass
from worker.core.model import (
    UNREADABLE_BATCH,
    UNREADABLE_RECORD,
    DeadLetterKind,
    DeadLetterPosition,
    Edit,
    Failure,
    Headers,
    Record,
    first_offset_of,
)

_UNREADABLE_SOURCE = (UNREADABLE_RECORD, UNREADABLE_BATCH)


class WorkerInfo(NamedTuple):
    """What all dead letters of one worker have in common: its version and the table that it writes."""

    version: str
    table: str


class EncodedDeadLetter(NamedTuple):
    """The parts of a Kafka record; `timestamp` is the time of failure in milliseconds since 1970."""

    key: bytes | None
    value: bytes
    headers: Headers
    timestamp: int


class ForeignRecord(NamedTuple):
    """A record on the dead-letter topic that is not a dead letter or cannot be read, and the reason."""

    record: Record
    reason: str

    @property
    def position(self) -> DeadLetterPosition:
        """Partition and offset on the dead-letter topic; of an unreadable record batch the last offset."""
        return DeadLetterPosition(self.record.partition, self.record.offset)

    @property
    def records(self) -> int:
        """How many records it stands for, at most: all of an unreadable record batch."""
        return self.record.offset - first_offset_of(self.record) + 1


class DeadLetter(NamedTuple):
    """A parsed dead letter. Times are milliseconds since 1970.

    Attributes:
        record: the record on the dead-letter topic.
        kind: what has failed.
        failure: the most recent one.
        attempts: number of INSERTs that contained the metric, over all replays.
        metric: its name, as far as the header holds it; None for an event.
        execution_id: None for an event.
        source: topic, partition and offset of the source record.
        source_timestamp: of the source record; -1 if it had none.
        replaces: the dead letter that was replayed and failed again as this one.
        part_of: the dead letter of a whole event that was replayed; this is the failure of one of its metrics.
        source_headers: headers of the source record; empty for a pointer.
        edit: how an operator has changed the event or the metric; None if it is as its producer sent it.
        replaced_metric: name of the metric of the dead letter `replaces`, if the edit has renamed it.
    """

    record: Record
    kind: DeadLetterKind
    failure: Failure
    attempts: int
    metric: str | None
    execution_id: str | None
    table: str
    source: tuple[str, int, int]
    source_timestamp: int
    failed_at: int
    replays: int
    replaces: DeadLetterPosition | None
    part_of: DeadLetterPosition | None
    worker_version: str
    position: DeadLetterPosition
    source_headers: Headers
    edit: Edit | None
    replaced_metric: str | None

    @property
    def needs_source_record(self) -> bool:
        """Whether a replay must fetch the source record, because the dead letter does not contain it."""
        failure = self.failure
        return failure.error_class is ErrorClass.TOO_LARGE or (
            self.kind == "event" and failure.error_type in _UNREADABLE_SOURCE
        )

    @property
    def is_pointer(self) -> bool:
        """Whether the value is only size and digest of what did not fit the topic."""
        return self.failure.error_class is ErrorClass.TOO_LARGE

    @property
    def has_unreadable_source(self) -> bool:
        """Whether the Kafka client could not parse the source record, so that only its position is known."""
        return self.kind == "event" and self.failure.error_type in _UNREADABLE_SOURCE

    @property
    def stands_for_batch(self) -> bool:
        """Whether it stands for all records of a record batch, which was too large once inflated."""
        return self.kind == "event" and self.failure.error_type == UNREADABLE_BATCH
