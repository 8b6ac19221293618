"""How an audit divides its range, so that each chunk fits in memory and its rows lie together in the table.

ClickHouse reads whole days, whatever of them is asked for, and the partitions of a topic advance together. So a chunk
has a part of each partition, of about the same time. With one partition after the other, each would read the same days
again.
"""

from collections.abc import Iterator, Mapping
from math import ceil

_CHUNK_RECORDS = 5_000
_CHUNK_ROWS = 50_000
_CHUNK_BYTES = 8 * 1024 * 1024


def split_ranges(ranges: Mapping[int, range]) -> Iterator[Mapping[int, range]]:
    """The offsets of each chunk by partition: of each partition the same share."""
    count = ceil(sum(map(len, ranges.values())) / _CHUNK_RECORDS)
    for number in range(count):
        yield {
            partition: offsets[len(offsets) * number // count : len(offsets) * (number + 1) // count]
            for partition, offsets in sorted(ranges.items())
        }


def is_full(rows: int, size: int) -> bool:
    """Whether a chunk of `rows` from `size` bytes of records must be audited before more is read."""
    return rows >= _CHUNK_ROWS or size >= _CHUNK_BYTES
