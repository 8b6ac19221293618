"""The ports: what the worker needs of Kafka and ClickHouse. Each has a real adapter and, for tests, one in memory."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from worker.core.model import Failed, Record, Row
from worker.core.outcome import Constraint, Outcome
from worker.dead_letters.settlement import Settlement
from worker.events.block import Block


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Store(Protocol):
    """The table that rows are written to."""

    async def insert(self, block: Block) -> Outcome:
        """Insert the rows of `block`; of each month all or none.

        Inserting the same block again changes nothing, whatever the outcome of the first insert.
        """

    async def probe(self) -> Outcome:
        """Insert no rows, to find out whether the store accepts inserts."""

    async def find_violating_rows(self, constraint: Constraint, block: Block) -> Sequence[int]:
        """Find the positions, ascending, of the rows of `block` that violate `constraint`. Nothing is written.

        Raises StoreError if the store does not answer, or cannot evaluate the constraint.
        """


class Violation(NamedTuple):
    """A row that the table refuses, and the constraint that it violates."""

    row: Row
    constraint: Constraint


class TableConstraints(Protocol):
    """The constraints of the table that rows are written to."""

    async def find_violations(self, block: Block) -> Sequence[Violation]:
        """The rows of `block` that violate a constraint, each once. Nothing is written.

        Raises StoreError if the store does not answer, or cannot say which rows.
        """


class DeadLetterOutcome(NamedTuple):
    """What has become of a dead letter.

    Attributes:
        problem: why it is not acknowledged, so that it must be written again; None if it is acknowledged.
        is_pointer: it is too large, and was written as a pointer with the class `too_large`.
    """

    problem: str | None = None
    is_pointer: bool = False


ACKNOWLEDGED = DeadLetterOutcome()


class DeadLetterSink(Protocol):
    """The dead-letter topic, to write to."""

    async def write(self, failed: Sequence[Failed]) -> Sequence[DeadLetterOutcome]:
        """Write one dead letter for each of `failed`; returns the outcome of each, in order.

        To write one again that is acknowledged is harmless.
        """


class EventSourceListener(Protocol):
    """What is called when a rebalance takes partitions away, and when positions are moved."""

    async def on_revoke(self) -> None:
        """Finish or drop unfinished work. The partitions are owned until this returns."""

    async def on_reset(self, starts: Mapping[Partition, int]) -> None:
        """Commit `starts`, to which positions were moved, but not before unfinished records of lower offsets.

        Where a higher offset than the start was read, it is one of a log that is gone: it must not be committed any
        more, and the start may be committed at once.
        """


class Polled(NamedTuple):
    """What a poll has returned.

    Attributes:
        records: in the order of each partition.
        bytes: of their keys, values and headers.
        next_offsets: the offset after the last record of each partition.
    """

    records: Sequence[Record]
    bytes: int
    next_offsets: Mapping[Partition, int]


class EventSource(Protocol):
    """A topic that is read as a member of a consumer group."""

    def subscribe(self, listener: EventSourceListener) -> None:
        """Join the group, before the first poll. `listener` is called in a poll, or by a rebalance."""

    async def poll(self, max_records: int, max_bytes: int, timeout_seconds: float) -> Polled:
        """Some records; none if the time is over.

        Args:
            max_records: how many at most.
            max_bytes: of keys, values and headers. The record that reaches it is the last one.
            timeout_seconds: how long to wait for a record.
        """

    async def pause(self) -> None:
        """Pause all partitions and poll once, without reading records: the group sees a live member."""

    def resume(self) -> None:
        """Let `poll` read records again."""

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit the next offset of each partition that is still owned; False if Kafka refuses."""


class TopicReader(Protocol):
    """A topic, to read from without a consumer group.

    Every method raises DependencyError when Kafka cannot be reached, or refuses.
    """

    async def fetch_offset_ranges(self) -> Mapping[int, range]:
        """The offsets of each partition now; what is written later is not among them."""

    def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        """Read some records at a time, in order; an `UnreadableRecord` for what the Kafka client cannot parse.

        Offsets that retention has deleted are left out. Close the generator before the next read, unless it has ended.
        """


class SettlementSink(Protocol):
    """The dead-letter topic, to append settlements to."""

    async def append(self, partition: int, settlement: Settlement) -> None:
        """Append a settlement, or several with a part of its runs each, and wait until they are acknowledged.

        To append one again is harmless. Raises DependencyError if the topic does not acknowledge it.
        """


class SourceRecordFetcher(Protocol):
    """The topics that dead letters come from, to read single records. Raises DependencyError if Kafka is away."""

    async def fetch(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at an offset; None if it is gone or cannot be parsed."""


class RowKey(NamedTuple):
    """What identifies a row: of rows with one key the view shows one. `day` is that of `completed_at`, since 1970."""

    day: int
    metric: str
    agent_name: str
    execution_id: str


class ViewRow(NamedTuple):
    """A row of the de-duplicated view.

    Attributes:
        completed_at: milliseconds since 1970, UTC.
        version: `Event.version` of its event.
        topic, partition, offset: the record of its event.
    """

    metric: str
    agent_name: str
    execution_id: str
    value: float
    user_id: str | None
    completed_at: int
    version: int
    topic: str
    partition: int
    offset: int
    labels: Mapping[str, str]


class DeduplicatedRows(Protocol):
    """The de-duplicated view of the table. Raises DependencyError if the view cannot be read."""

    def read_rows(self, keys: Collection[RowKey], on_row: Callable[[RowKey, ViewRow], None]) -> None:
        """Call `on_row` with each row that has one of `keys`."""
