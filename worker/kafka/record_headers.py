"""Bounds how many records and headers an inflated record batch holds, before aiokafka makes Python objects of them.

A header without name and value takes two bytes in the batch, and 80 once parsed: 32 MiB of them are more than 1 GB.
"""

from contextlib import suppress

from worker.kafka.decompression import RecordBatchTooLarge

UNCHECKED_BYTES = 1024 * 1024
"""A batch of this size takes at most 50 MB once parsed."""
MAX_RECORDS = 500_000
MAX_HEADERS = 10_000
"""Of one record that is larger than `_SMALL_RECORD_BYTES`."""
_SMALL_RECORD_BYTES = 64 * 1024


def check_records(inflated: memoryview) -> None:
    """Check the records of a batch of format 2. Of ordinary batches it takes no time.

    Raises:
        RecordBatchTooLarge: there are too many records, or headers of one record.
    """
    if len(inflated) > UNCHECKED_BYTES:
        with suppress(IndexError):  # corrupt; aiokafka refuses it
            _walk_records(inflated)


def _walk_records(inflated: memoryview) -> None:
    position, records, size = 0, 0, len(inflated)
    while position < size:
        length, position = _read_varint(inflated, position)
        records += 1
        if length < 0:
            raise IndexError("a record of a negative size")
        if length > _SMALL_RECORD_BYTES and (headers := _count_headers(inflated, position)) > MAX_HEADERS:
            raise RecordBatchTooLarge(f"a record in their record batch has {headers} headers")
        if records > MAX_RECORDS:
            raise RecordBatchTooLarge(f"their record batch holds more than {MAX_RECORDS} records")
        position += length


def _count_headers(inflated: memoryview, position: int) -> int:
    position += 1  # attributes
    for _ in range(2):  # differences of timestamp and offset
        _, position = _read_varint(inflated, position)
    for _ in range(2):  # key and value; a length of -1 is None
        length, position = _read_varint(inflated, position)
        position += max(length, 0)
    return _read_varint(inflated, position)[0]


def _read_varint(inflated: memoryview, position: int) -> tuple[int, int]:
    """A number in zigzag encoding, and the position behind it."""
    byte = inflated[position]
    number, shift = byte & 0x7F, 7
    position += 1
    while byte & 0x80:
        byte = inflated[position]
        number |= (byte & 0x7F) << shift
        shift += 7
        position += 1
    return number >> 1 ^ -(number & 1), position
