"""The seams at which the worker meets the world. Each has a real adapter and, for tests, one in memory."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from worker.block import Block
from worker.model import Failed, Record


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Store(Protocol):
    """Where rows go."""

    async def insert(self, block: Block) -> None:
        """Insert the rows of `block`, all or none; when this returns they are acknowledged.

        The same rows inserted again, whatever became of the first time, change nothing.

        Raises:
            RowRefused: some of the rows are at fault.
            StoreUnavailable: nothing is known of the rows, or the store could not take them.
            StoreMisconfigured: the store lacks what every insert needs.
            UnknownStoreError: none of the above can be told.
        """

    async def probe(self) -> None:
        """Ask whether inserts would be taken.

        Raises:
            StoreError: what an insert would meet.
        """


class DeadLetters(Protocol):
    """Where failed metrics and events go."""

    async def put(self, failed: Sequence[Failed]) -> None:
        """Write one dead letter for each; when this returns all are acknowledged.

        Raises:
            DeadLetterUnavailable: at least one is not acknowledged; all may be put again.
        """


class RevokeListener(Protocol):
    """Told of a rebalance while the partitions are still owned."""

    async def revoked(self) -> None:
        """Finish or drop what is in flight: when this returns every partition may belong to another."""


class Inbox(Protocol):
    """Where records come from."""

    async def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """At most `max_records` records in the order of each partition; empty when the time is over."""

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit the next offset of each partition; False where the group has moved on and refuses."""

    async def idle(self) -> None:
        """Poll without taking anything: the group sees a live member, the partitions stay where they are."""

    def resume(self) -> None:
        """Hand out records again after `idle`."""

    def listen(self, listener: RevokeListener) -> None:
        """Name who is told of rebalances; before the first poll."""
