"""Frozen values that travel through the worker."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from worker.core.errors import ErrorClass


class Record(Protocol):
    """A Kafka record as the client hands it out; the names are the client's, so that nothing is copied.

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
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class UnreadableRecord(NamedTuple):
    """A `Record` that the Kafka client cannot parse. All that is known of it is where it stands."""

    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    key: None = None
    value: bytes = b""
    headers: tuple[()] = ()


class RecordPosition(NamedTuple):
    """Where a dead letter stands in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """As `dlq show` takes it."""
        return f"{self.partition}:{self.offset}"


class ReplayedRecord(NamedTuple):
    """A `Record` put together again from its dead letter, with the history that a new dead letter would go on with.

    The first fields are those of the source record; where the dead letter is of a single metric, `value` is None.

    Attributes:
        replays: how often it has been replayed, this time included.
        attempts: inserts that held the metric before this time.
        replaces: the dead letter that it comes from.
        whole: whether that is the dead letter of a whole event, so that several can come out of it.
        part_of: the dead letter of a whole event that this metric came out of by an earlier replay.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    replays: int
    attempts: int
    replaces: RecordPosition
    whole: bool
    part_of: RecordPosition | None = None


class Unrepresentable(NamedTuple):
    """A JSON number that no Float64 can hold, as it was written: `NaN`, `-Infinity`, `1e400`."""

    literal: str


class Event(NamedTuple):
    """An *execution completed* event. Times are milliseconds since 1970, UTC.

    A tuple because one is made for every record: it costs a third of a frozen dataclass.
    """

    execution_id: UUID
    agent_name: str
    user_id: str | None
    completed_at: int
    recorded_at: int
    metrics: dict[str, object]
    record: Record


class Row(NamedTuple):
    """One metric of one event; `value` is as the producer wrote it, an int, a float or a bool."""

    event: Event
    metric: str
    value: float


class Failure(NamedTuple):
    """Why something became a dead letter, in words that stay stable for those who filter by them.

    Attributes:
        isolated: False where a row was refused together with others, because isolating each would have taken too many
            INSERTs: it may be valid.
    """

    error_class: ErrorClass
    error_type: str
    message: str
    code: int | None = None
    isolated: bool = True


class FailedMetric(NamedTuple):
    """One metric that will not be a row. `attempts` counts the inserts that held it."""

    event: Event
    metric: str
    value: float | Unrepresentable
    failure: Failure
    attempts: int


class FailedEvent(NamedTuple):
    """A record that could not be read as an event."""

    record: Record
    failure: Failure


Failed = FailedEvent | FailedMetric
