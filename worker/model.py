"""Frozen values that travel through the worker."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from worker.errors import ErrorClass


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
    """Why something became a dead letter, in words that stay stable for those who filter by them."""

    error_class: ErrorClass
    error_type: str
    message: str
    code: int | None = None


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
