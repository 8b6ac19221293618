"""Reads the open dead letters: those that are not settled.

A settlement is behind the dead letters that it settles. So a scan first reads the whole topic for settlements, without
parsing dead letters, and then reads it again for the dead letters.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Protocol, TypeVar

from worker.core.model import DeadLetterPosition, Record, first_offset_of
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.record_format import has_predecessor, parse_dead_letter
from worker.dead_letters.settlement import (
    InvalidSettlement,
    Settlement,
    identify,
    is_settlement,
    parse_settlement,
)
from worker.ports import TopicReader
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
        entries = JournalEntries()
        self._settled = {at: SettledOffsets(offsets.start, entries) for at, offsets in self.offset_ranges.items()}
        self._supersessions = Supersessions()

    @classmethod
    async def begin(cls, reader: TopicReader, on_settlement: OnSettlement = lambda *_: None) -> "DeadLetterScan":
        """Read the settlements, and return the scan."""
        scan = cls(reader, await reader.fetch_offset_ranges())
        for partition in scan.offset_ranges:
            await scan._read_settlements(partition, on_settlement)
        return scan

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
            some = offsets if include_settled else settled.open_offsets
            async with aclosing(self._reader.read(partition, some)) as batches:
                async for records in batches:
                    read = [item for item in records if include_settled or settled.is_open(item.offset)]
                    items = [item for record in read if (item := _parse(record)) is not None]
                    if not include_settled:
                        items = [item for item in items if not self._is_superseded(item)]
                    yield items

    async def find(self, position: DeadLetterPosition) -> DeadLetter | ForeignRecord | None:
        """The record at `position`, settled or not, or the record batch that cannot be read; None if there is none."""
        known = self.offset_ranges.get(position.partition, range(0))
        if position.offset in known:
            offsets = range(position.offset, known.stop)  # a record batch that cannot be read has its last offset
            async with aclosing(self._reader.read(position.partition, offsets)) as batches:
                async for records in batches:
                    if first_offset_of(records[0]) > position.offset:
                        return None
                    return _parse(records[0]) or ForeignRecord(records[0], "it is a settlement: see `dlq history`")
        return None

    def find_settlement(self, item: DeadLetter | ForeignRecord) -> Settlement | None:
        """What has settled a dead letter; None if none has."""
        partition, offset = item.position
        return self._settled[partition].find(offset)

    def is_replaced(self, item: DeadLetter | ForeignRecord) -> bool:
        """Whether another dead letter has replaced this one, which settles it too."""
        return isinstance(item, DeadLetter) and self._supersessions.contains(item)

    async def _read_settlements(self, partition: int, on_settlement: OnSettlement) -> None:
        settled, register = self._settled[partition], self._supersessions.register
        async with aclosing(self._reader.read(partition, self.offset_ranges[partition])) as batches:
            async for records in batches:
                for record in records:
                    if (settlement := _parse_settlement(record)) is not None:
                        applied = settled.apply(settlement)
                        on_settlement(DeadLetterPosition(partition, record.offset), settlement, applied)
                        continue
                    settled.add_record(record.offset, identify(record))
                    if has_predecessor(record) and isinstance(letter := parse_dead_letter(record), DeadLetter):
                        register(letter)
        settled.finish()

    def _is_superseded(self, item: DeadLetter | ForeignRecord) -> bool:
        if not self.is_replaced(item):
            return False
        self.superseded[item.position] = identify(item.record)
        return True


def _parse_settlement(record: Record) -> Settlement | None:
    """None if it is none, or this version cannot read it: then `_parse` makes a foreign record of it."""
    if not is_settlement(record):
        return None
    try:
        return parse_settlement(record)
    except InvalidSettlement:
        return None


def _parse(record: Record) -> DeadLetter | ForeignRecord | None:
    """None for a settlement."""
    if not is_settlement(record):
        return parse_dead_letter(record)
    try:
        parse_settlement(record)
    except InvalidSettlement as error:
        return ForeignRecord(record, str(error))
    return None
