"""The values that pass through the worker; none of them changes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from worker.core.errors import ErrorClass

Headers = Sequence[tuple[str, bytes | None]]
DeadLetterKind = Literal["event", "metric"]
"""What has failed: a whole event, or one metric."""
Labels = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""
SkippedItem = tuple[Literal["metric", "label"], str, str]
"""What is skipped of an event: kind, name (cut where it is too long), and the reason, which is the type of a metric."""
SkippedLabels = tuple[tuple[str, str], ...]
"""Names, cut where they are too long, and why each is skipped."""
_HEADER_BYTES = 80
"""What a header takes beside its name and its value."""


class Record(Protocol):
    """A Kafka record.

    `timestamp` is in milliseconds since 1970, -1 where the producer gave none.
    """

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


def size_of(record: Record) -> int:
    """Bytes of key, value and headers, as they are in memory."""
    size = len(record.value or b"") + len(record.key or b"")
    for name, value in record.headers:  # `sum` of a generator takes half as long again
        size += _HEADER_BYTES + len(name) + len(value or b"")
    return size


UNREADABLE_RECORD, UNREADABLE_BATCH = "UnreadableRecord", "UnreadableBatch"
"""The `error_type` of the dead letter of an `UnreadableRecord`."""


class UnreadableRecord(NamedTuple):
    """A `Record` that the Kafka client cannot parse, or a whole record batch. Only its position is known.

    Attributes:
        offset: for a record batch the last one, so that what follows is behind it.
        reason: a sentence for the dead letter.
        first_offset: of the record batch, if this stands for all its records.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    key: None = None
    value: bytes = b""
    headers: tuple[()] = ()
    reason: str = "the Kafka client cannot parse the record, or one before it in its record batch"
    first_offset: int | None = None

    @property
    def error_type(self) -> str:
        """The type of the failure."""
        return UNREADABLE_RECORD if self.first_offset is None else UNREADABLE_BATCH

    @property
    def records(self) -> int:
        """How many records it stands for, at most."""
        return 1 if self.first_offset is None else self.offset - self.first_offset + 1


def first_offset_of(record: Record) -> int:
    """The offset of `record`, or of the first one that it stands for."""
    if isinstance(record, UnreadableRecord) and record.first_offset is not None:
        return record.first_offset
    return record.offset


class DeadLetterPosition(NamedTuple):
    """The position of a dead letter in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """The form that `dlq show` accepts."""
        return f"{self.partition}:{self.offset}"


MAX_EXPRESSION_LENGTH = 2_000
"""Characters of the expression of an `Edit`: headers and settlements repeat it."""


class PartitionProgress(NamedTuple):
    """How far a consumer group is in a partition.

    Attributes:
        end: the offset of the next record that will be sent.
        committed: the offset up to which the group has committed; None if it never has.
    """

    end: int
    committed: int | None

    @property
    def lag(self) -> int | None:
        """Records that are not committed."""
        return None if self.committed is None else max(self.end - self.committed, 0)


class Edit(NamedTuple):
    """The last change of an event by an operator, before a replay.

    Attributes:
        by: the user and the host.
        expression: what was applied to the event, in the language of jq.
        original: the dead letter that has the event, or the metric, as it was before the first edit.
        original_sha256: digest of the value of that; of a pointer the digest that it contains.
    """

    by: str
    expression: str
    original: DeadLetterPosition
    original_sha256: str


class ReplayedRecord(NamedTuple):
    """A `Record` rebuilt from its dead letter, with the history that a new dead letter would continue.

    The first fields are those of the source record; if the dead letter is of a single metric, `value` is None.

    Attributes:
        replays: how often it has been replayed, including this time.
        attempts: inserts that contained the metric before this replay.
        replaces: the dead letter that it was rebuilt from.
        whole: whether that dead letter is of a whole event, so that it can result in several.
        part_of: the dead letter of a whole event from which an earlier replay made the dead letter of this metric.
        edit: how an operator has changed the event, in this replay or an earlier one.
        replaced_metric: name of the metric of the dead letter `replaces`, if the edit has renamed it.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    replays: int
    attempts: int
    replaces: DeadLetterPosition
    whole: bool
    part_of: DeadLetterPosition | None = None
    edit: Edit | None = None
    replaced_metric: str | None = None


class UnrepresentableNumber(NamedTuple):
    """A JSON number that no Float64 can hold, as the producer wrote it: `NaN`, `-Infinity`, `1e400`."""

    literal: str


class Event(NamedTuple):
    """An *execution completed* event. Times are milliseconds since 1970, UTC.

    It is a tuple because one is made for every record: that takes a third of the time of a frozen dataclass.

    Attributes:
        execution_id: in the form in which it is stored.
        metrics: empty after the fan-out of an event of which not all are rows: what is skipped can be large.
        recorded_at: timestamp of the record, from 1970 to the last instant of the table; 0 if it has none.
        labels: those of each row; events with equal ones share a tuple, mostly.
        skipped_labels: what is no label.
    """

    execution_id: str
    agent_name: str
    user_id: str | None
    completed_at: int
    recorded_at: int
    metrics: dict[str, object]
    record: Record
    labels: Labels = ()
    skipped_labels: SkippedLabels = ()

    @property
    def version(self) -> int:
        """The version of the event's rows: of rows with the same sort key the highest stays.

        The timestamp of the record in the upper 64 bits, then its offset.
        """
        return self.recorded_at << 64 | self.record.offset


class Row(NamedTuple):
    """One metric of one event; `value` is as the producer wrote it, an int, a float or a bool."""

    event: Event
    metric: str
    value: float


class Failure(NamedTuple):
    """Why a metric or an event has become a dead letter. Class and type are stable, so that they can be filtered by.

    `isolated` is False for a row that was refused together with others, because to insert each alone would have taken
    too many INSERTs. Such a row may be valid.
    """

    error_class: ErrorClass
    error_type: str
    message: str
    code: int | None = None
    isolated: bool = True


class FailedMetric(NamedTuple):
    """A metric that will not be a row. `attempts` counts the inserts that contained it."""

    event: Event
    metric: str
    value: float | UnrepresentableNumber
    failure: Failure
    attempts: int

    @property
    def kind(self) -> DeadLetterKind:
        """The `dlq.kind` of its dead letter."""
        return "metric"

    @property
    def record(self) -> Record:
        """The record of the event."""
        return self.event.record


class FailedEvent(NamedTuple):
    """A record that could not be read as an event."""

    record: Record
    failure: Failure

    @property
    def kind(self) -> DeadLetterKind:
        """The `dlq.kind` of its dead letter."""
        return "event"

    @property
    def metric(self) -> None:
        """No metric: the whole event has failed."""
        return


Failed = FailedEvent | FailedMetric
