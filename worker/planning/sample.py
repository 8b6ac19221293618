"""A sample of events: as many as one batch of the worker takes by default."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from worker.batch_reader import BatchPolicy
from worker.core.line_splitter import Line
from worker.core.model import Headers, Record, size_of
from worker.ports import TopicReader
from worker.validation.validator import LineRecord

MAX_EVENTS = BatchPolicy.max_events
_MAX_BYTES = BatchPolicy.max_bytes
"""Of keys, values and headers. The record that reaches it is the last one of a file, or of a partition by its share."""


class Sample(NamedTuple):
    """Some events.

    Attributes:
        source: in words, where they come from.
        too_long: number of lines that were left out, because the topic would not take them.
    """

    source: str
    records: Sequence[Record]
    too_long: int = 0


def sample_lines(source: str, lines: Iterable[Line], timestamp: int, headers: Headers = ()) -> Sample:
    """The first lines as the records that `produce` would send; no more are read than the sample takes.

    `timestamp` is that of the records, in milliseconds since 1970.
    """
    records: list[Record] = []
    size = too_long = 0
    for line in lines:
        if line.content is None:
            too_long += 1
            continue
        record = LineRecord(line.content, line.number, timestamp, headers)
        records.append(record)
        size += size_of(record)
        if len(records) >= MAX_EVENTS or size >= _MAX_BYTES:
            break
    return Sample(source, records, too_long)


async def sample_topic(reader: TopicReader, ranges: Mapping[int, range]) -> list[Record]:
    """The newest records of a topic, of each partition that has some as many; `ranges` are its offsets now.

    Raises DependencyError if Kafka cannot be reached, or refuses.
    """
    filled = {partition: offsets for partition, offsets in ranges.items() if offsets}
    records: list[Record] = []
    for partition, offsets in filled.items():
        newest = offsets[-max(1, MAX_EVENTS // len(filled)) :]
        records += await _read(reader, partition, newest, _MAX_BYTES // len(filled))
    return records


async def _read(reader: TopicReader, partition: int, offsets: range, max_bytes: int) -> list[Record]:
    records: list[Record] = []
    size = 0
    async with aclosing(reader.read(partition, offsets)) as batches:
        async for some in batches:
            for record in some:
                records.append(record)
                size += size_of(record)
                if size >= max_bytes:
                    return records
    return records
