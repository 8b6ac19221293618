"""Reads single records of the dead-letter topic, settled or not."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from worker.core.model import DeadLetterPosition, Record, first_offset_of
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.record_format import parse_dead_letter
from worker.dead_letters.settlement import InvalidSettlement, is_settlement, parse_settlement
from worker.ports import TopicReader

_MAX_GAP = 200
"""Offsets between two positions that are read and skipped: a seek costs a round trip."""


async def read_at(
    reader: TopicReader, positions: Sequence[DeadLetterPosition]
) -> AsyncGenerator[DeadLetter | ForeignRecord]:
    """Yield the records at `positions`, which ascend, without settlements and without those that the topic has no more.

    Each position must be within the offsets that the topic has had: Kafka has no answer for others. Raises
    DependencyError when Kafka cannot be reached, or refuses.
    """
    wanted = frozenset(positions)
    for partition, offsets in _join(positions):
        async with aclosing(reader.read(partition, offsets)) as batches:
            async for records in batches:
                for record in records:
                    if (partition, record.offset) in wanted and (item := parse_record(record)) is not None:
                        yield item


async def find_at(reader: TopicReader, position: DeadLetterPosition, known: range) -> DeadLetter | ForeignRecord | None:
    """The record at `position`, or the record batch that cannot be read; None if there is none.

    `known` are the offsets of the partition. Raises as `read_at`.
    """
    if position.offset in known:
        offsets = range(position.offset, known.stop)  # a record batch that cannot be read has its last offset
        async with aclosing(reader.read(position.partition, offsets)) as batches:
            async for records in batches:
                if first_offset_of(records[0]) > position.offset:
                    return None
                return parse_record(records[0]) or ForeignRecord(records[0], "it is a settlement: see `dlq history`")
    return None


def parse_record(record: Record) -> DeadLetter | ForeignRecord | None:
    """None for a settlement."""
    if not is_settlement(record):
        return parse_dead_letter(record)
    try:
        parse_settlement(record)
    except InvalidSettlement as error:
        return ForeignRecord(record, str(error))
    return None


def _join(positions: Sequence[DeadLetterPosition]) -> Iterator[tuple[int, range]]:
    """The ranges of offsets that contain the positions."""
    partition, offsets = -1, range(0)
    for position in positions:
        if position.partition == partition and position.offset - offsets.stop < _MAX_GAP:
            offsets = range(offsets.start, position.offset + 1)
            continue
        if offsets:
            yield partition, offsets
        partition, offsets = position.partition, range(position.offset, position.offset + 1)
    if offsets:
        yield partition, offsets
