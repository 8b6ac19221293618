"""The seams at which the worker meets the world. Each has a real adapter and, for tests, one in memory."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple, Protocol

from worker.core.model import Failed, Record
from worker.core.outcome import Constraint, Outcome
from worker.dead_letters.progress import ReplayProgress
from worker.events.block import Block


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Store(Protocol):
    """Where rows go."""

    async def insert(self, block: Block) -> Outcome:
        """Insert the rows of `block`, all or none, and say what became of them.

        The same rows inserted again, whatever became of the first time, change nothing.
        """

    async def probe(self) -> Outcome:
        """Insert no rows: the outcome says whether the store accepts inserts."""

    async def find_violations(self, constraint: Constraint, block: Block) -> Sequence[int]:
        """Positions, ascending, of the rows of `block` that do not fulfil `constraint`. Nothing is written.

        Raises:
            StoreError: the store does not answer, or cannot evaluate the constraint.
        """


class DeadLetterSink(Protocol):
    """Where failed metrics and events go."""

    async def write(self, failed: Sequence[Failed]) -> Sequence[int]:
        """Write one dead letter for each; when this returns all are acknowledged.

        Returns:
            The positions of those that did not fit and stand there as pointers, with the class `too_large`.

        Raises:
            DeadLetterUnavailable: at least one is not acknowledged; all may be put again.
        """


class RevokeListener(Protocol):
    """Told of a rebalance while the partitions are still owned."""

    async def on_revoke(self) -> None:
        """Finish or drop what is in flight: when this returns every partition may belong to another."""


class EventSource(Protocol):
    """Where records come from."""

    async def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """At most `max_records` records in the order of each partition; empty when the time is over."""

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit the next offset of each partition; False where the group has moved on and refuses."""

    async def pause(self) -> None:
        """Poll without taking anything: the group sees a live member, the partitions stay where they are."""

    def resume(self) -> None:
        """Hand out records again after `pause`."""

    def subscribe(self, listener: RevokeListener) -> None:
        """Name who is told of rebalances; before the first poll."""


class DeadLetterReader(Protocol):
    """The dead-letter topic as somebody finds it who comes to put letters back."""

    async def offset_ranges(self) -> Mapping[int, range]:
        """The offsets that stand in each partition now; what is written later is none of them.

        Raises:
            DependencyError: Kafka cannot be reached, or refuses.
        """

    def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        """Some records at a time, in order; an `UnreadableRecord` for what the Kafka client cannot parse.

        Of offsets that are gone there is no record, which is no error. One reading at a time: who leaves it before its
        end closes it.

        Raises:
            DependencyError: Kafka does not hand them out.
        """

    async def load_progress(self) -> Mapping[int, ReplayProgress]:
        """What replays have taken down as done, by partition; a copy.

        Raises:
            DependencyError: Kafka cannot be reached, or refuses.
        """

    async def save_progress(self, progress: Mapping[int, ReplayProgress], stale: Mapping[int, ReplayProgress]) -> None:
        """Take down what is done, beside what others have taken down.

        Args:
            progress: by partition. It is not told what others have done: who replays goes on with what it has counted.
            stale: progress of an earlier topic of this name; where just that is still kept, it goes.

        Raises:
            DependencyError: it is not acknowledged.
        """


class SourceRecordFetcher(Protocol):
    """The topics that dead letters come from."""

    async def fetch(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at one place; None where there is none any more, or none that can be read.

        Raises:
            DependencyError: Kafka does not answer.
        """
