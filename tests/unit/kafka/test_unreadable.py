"""What is read of a fetch with record batches that aiokafka cannot parse."""

import struct

import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from tests.support.inflating import ZSTD, compress, record_chunks
from worker.core.model import Record, UnreadableRecord
from worker.kafka.decompression import MAX_INFLATED_BYTES, bound_decompression
from worker.kafka.record_headers import check_records
from worker.kafka.unreadable import ReadablePartitionRecords

_LENGTH_AT, _CRC_AT, _CODEC_AT, _RECORDS_AT = 8, 17, 21, 61
_NAME = "~~~~"


@pytest.fixture(autouse=True)
def _bounded() -> None:
    bound_decompression(check_records)


def batch(first: int, values: list[bytes], bad: int | None = None) -> bytearray:
    """A batch with offsets from `first` on; the one at `bad` has a header whose name is not UTF-8."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, 0, None, value, [(_NAME, b"")] if number == bad else [])
    return finish(bytes(builder.build()).replace(_NAME.encode(), b"\xff\xfe\xff\xfe"), first)


def inflating_batch(first: int, count: int) -> bytearray:
    written = bytes(batch(first, [b""] * count)[:_RECORDS_AT])
    written += compress(ZSTD, record_chunks(MAX_INFLATED_BYTES // count, count))
    return finish(written[:_CODEC_AT] + struct.pack(">h", ZSTD) + written[_CODEC_AT + 2 :], first)


def finish(written: bytes, first: int) -> bytearray:
    finished = bytearray(written)
    struct.pack_into(">qi", finished, 0, first, len(finished) - 12)
    struct.pack_into(">I", finished, _CRC_AT, calc_crc32c(bytes(finished[_CODEC_AT:])))
    return finished


def fetched(*batches: bytearray, position: int) -> ReadablePartitionRecords:
    records = MemoryRecords(b"".join(batches))
    return ReadablePartitionRecords(TopicPartition("t", 3), records, None, position, None, None, True, 1)


def described(records: list[Record]) -> list[int | str]:
    """The offset of each record that is read, and the type and offset of each that is not."""
    return [
        f"{record.error_type} {record.offset}" if isinstance(record, UnreadableRecord) else record.offset
        for record in records
    ]


def test_batches_around_one_that_is_too_large_are_read() -> None:
    records = fetched(batch(4, [b"a"]), inflating_batch(5, 3), batch(8, [b"b", b"c"]), position=4)
    assert described([*records]) == [4, "UnreadableBatch 7", 8, 9]
    assert records.next_fetch_offset == 10


@pytest.mark.parametrize("position", [5, 6, 7])
def test_same_record_stands_for_a_batch_from_any_of_its_offsets_on(position: int) -> None:
    (unreadable,) = fetched(inflating_batch(5, 3), position=position)
    assert (unreadable.first_offset, unreadable.offset, unreadable.records) == (5, 7, 3)


def test_records_after_an_unreadable_one_are_unreadable_until_the_end_of_its_batch() -> None:
    records = fetched(batch(4, [b"a"] * 4, bad=1), batch(8, [b"b"]), position=4)
    assert described([*records]) == [4, *(f"UnreadableRecord {offset}" for offset in (5, 6, 7)), 8]


def test_position_follows_each_unreadable_record() -> None:
    records = fetched(batch(4, [b"a"] * 4, bad=0), position=4)
    assert [(next(records).offset, records.next_fetch_offset) for _ in range(4)] == [(4, 5), (5, 6), (6, 7), (7, 8)]


def test_gap_before_an_unreadable_record_is_not_filled() -> None:
    assert described([*fetched(batch(100, [b"a"] * 2, bad=0), position=4)]) == [
        "UnreadableRecord 100",
        "UnreadableRecord 101",
    ]


def test_header_behind_a_wrong_checksum_is_not_trusted() -> None:
    """It could claim any number of offsets."""
    corrupt = batch(4, [b"a"] * 4)
    corrupt[_CRC_AT] ^= 1
    records = fetched(corrupt, batch(8, [b"b"]), position=4)
    assert described([*records]) == ["UnreadableRecord 4"]
    assert records.next_fetch_offset == 5, "the batch is fetched again, from here on"
