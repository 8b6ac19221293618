"""Reads the open dead letters: those that are not settled.

A settlement is behind the dead letters that it settles. So a scan first reads the whole topic for settlements, without
parsing dead letters, and then reads it again for the dead letters, from the first open one to the last.

One pass would have to parse every dead letter and keep a summary of it until its settlement is read. For an open one
that saves `dlq causes` and `stats` less than 5 of 17 to 21 µs of CPU, those of the client; for a settled one, of which
a topic has most, it takes 12 to 16 µs instead of 6. So there are two.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Protocol, TypeVar

from worker.core.model import DeadLetterPosition
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.record_format import has_predecessor, parse_dead_letter
from worker.dead_letters.settlement import (
    Settled,
    Settlement,
    find_settlement,
    identify,
    is_settlement,
)
from worker.ports import TopicReader
from worker.replay.lookup import find_at, parse_record
from worker.replay.settled_offsets import JournalEntries, SettledOffsets
from worker.replay.supersessions import Supersessions


class DeadLetterVisitor(Protocol):
    """Is shown the open dead letters, one by one."""

    def visit(self, item: DeadLetter | ForeignRecord) -> object:
        """Process one record."""


Visitor = TypeVar("Visitor", bound=DeadLetterVisitor)
OnSettlement = Callable[[DeadLetterPosition, Settlement, int], object]
"""Called with the position of a settlement, and with the number of records to which it applies."""


class DeadLetterScan:
    """The dead letters that are in the topic when the scan begins; later ones are not read.

    Every method raises DependencyError when Kafka cannot be reached, or refuses.

    Attributes:
        offset_ranges: the offsets of each partition at that moment.
        superseded: the identities of dead letters that were read, are not settled, and were replaced by others.
    """

    def __init__(self, reader: TopicReader, offset_ranges: Mapping[int, range]) -> None:
        self._reader = reader
        self.offset_ranges = dict(sorted(offset_ranges.items()))
        self.superseded: dict[DeadLetterPosition, int] = {}
        self._visible = self.offset_ranges
        entries = JournalEntries()
        self._settled = {at: SettledOffsets(offsets.start, entries) for at, offsets in self.offset_ranges.items()}
        self._supersessions = Supersessions()

    @classmethod
    async def begin(cls, reader: TopicReader, on_settlement: OnSettlement = lambda *_: None) -> "DeadLetterScan":
        """Read the settlements, and return the scan."""
        scan = cls(reader, await reader.fetch_offset_ranges())
        for partition, offsets in scan.offset_ranges.items():
            await scan._read_settlements(partition, offsets, on_settlement)
        return scan

    async def refresh(self) -> bool:
        """Read the settlements that were written since the scan began, as while an operator was asked.

        Returns whether dead letters of the scan were settled, reopened, replaced or deleted meanwhile.
        """
        changes = 0
        self.superseded = {}  # others may have settled them; the next reading finds those that are left
        current = await self._reader.fetch_offset_ranges()
        for partition, offsets in self.offset_ranges.items():
            now = current.get(partition, offsets)
            # Retention has moved the start, or the topic was created again.
            changes += now.start != offsets.start or now.stop < offsets.stop
            changes += await self._read_settlements(partition, range(offsets.stop, now.stop))
        return changes > 0

    def restrict_to(self, offset_ranges: Mapping[int, range]) -> None:
        """Read dead letters only where one of these offsets is; settlements were read everywhere."""
        self._visible = {at: offset_ranges.get(at, range(0)) for at in self.offset_ranges}

    async def scan(self, visitor: Visitor, until: Callable[[], bool] = lambda: False) -> Visitor:
        """Show every open dead letter to `visitor`, or those up to the one after which `until` is true."""
        async with aclosing(self.read_batches()) as batches:
            async for items in batches:
                for item in items:
                    visitor.visit(item)
                    if until():
                        return visitor
        return visitor

    async def read_batches(self, *, include_settled: bool = False) -> AsyncGenerator[list[DeadLetter | ForeignRecord]]:
        """Yield dead letters in the order of each partition: the open ones, or all."""
        for partition, offsets in self.offset_ranges.items():
            settled = self._settled[partition]
            some = _intersect(offsets if include_settled else settled.open_offsets, self._visible[partition])
            async with aclosing(self._reader.read(partition, some)) as batches:
                async for records in batches:
                    read = [item for item in records if include_settled or settled.is_open(item.offset)]
                    items = [item for record in read if (item := parse_record(record)) is not None]
                    if not include_settled:
                        items = [item for item in items if not self._is_superseded(item)]
                    yield items

    async def find(self, position: DeadLetterPosition) -> DeadLetter | ForeignRecord | None:
        """The record at `position`, settled or not, or the record batch that cannot be read; None if there is none."""
        return await find_at(self._reader, position, self.offset_ranges.get(position.partition, range(0)))

    async def identify_last_records(self) -> dict[int, tuple[int, int]]:
        """The offset and the identity of the last record of each partition that has one.

        Retention deletes it last. So in a later scan, `has_records` tells whether this is still the same topic.
        """
        ends = {at: offsets.stop - 1 for at, offsets in self.offset_ranges.items() if offsets}
        found = [(end, await self.find(DeadLetterPosition(at, end))) for at, end in ends.items()]
        return {item.position.partition: (end, identify(item.record)) for end, item in found if item is not None}

    async def has_records(self, identities: Mapping[int, tuple[int, int]]) -> bool:
        """Whether no partition has another record at these offsets; those that were deleted do not count."""
        for partition, (offset, identity) in identities.items():
            item = await self.find(DeadLetterPosition(partition, offset))
            if item is not None and identify(item.record) != identity:
                return False
        return True

    def find_settlement(self, item: DeadLetter | ForeignRecord) -> Settlement | None:
        """What has settled a dead letter; None if none has."""
        partition, offset = item.position
        return self._settled[partition].find(offset)

    def is_replaced(self, item: DeadLetter | ForeignRecord) -> bool:
        """Whether another dead letter has replaced this one, which settles it too."""
        return isinstance(item, DeadLetter) and self._supersessions.contains(item)

    def find_settled(self, item: DeadLetter | ForeignRecord) -> Settled:
        """Whether a dead letter is settled, and by what."""
        return self.find_settlement(item) or self.is_replaced(item)

    async def _read_settlements(
        self, partition: int, offsets: range, on_settlement: OnSettlement = lambda *_: None
    ) -> int:
        """Apply the settlements at these offsets; returns how many dead letters they settle, reopen or replace."""
        settled, changes = self._settled[partition], 0
        async with aclosing(self._reader.read(partition, offsets)) as batches:
            async for records in batches:
                for record in records:
                    if is_settlement(record) and (settlement := find_settlement(record)) is not None:
                        applied = settled.apply(settlement)
                        on_settlement(DeadLetterPosition(partition, record.offset), settlement, applied)
                        changes += applied
                        continue
                    settled.add_record(record.offset, identify(record))
                    if has_predecessor(record) and isinstance(letter := parse_dead_letter(record), DeadLetter):
                        self._supersessions.register(letter)
                        changes += 1
        settled.finish()
        return changes

    def _is_superseded(self, item: DeadLetter | ForeignRecord) -> bool:
        if not self.is_replaced(item):
            return False
        self.superseded[item.position] = identify(item.record)
        return True


def _intersect(one: range, other: range) -> range:
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return range(start, stop) if start < stop else range(0)
