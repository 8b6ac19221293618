"""What is read of a fetch with record batches that aiokafka cannot parse."""

import gc
import gzip
import struct
import weakref
import zlib

import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from tests.support.inflating import ZSTD, compress, record_chunks
from worker.core.model import Record, UnreadableRecord
from worker.kafka.decompression import MAX_INFLATED_BYTES, bound_decompression
from worker.kafka.record_headers import check_records
from worker.kafka.unreadable import ReadablePartitionRecords

_CRC_AT, _CODEC_AT, _PRODUCER_AT, _COUNT_AT, _RECORDS_AT = 17, 21, 43, 57, 61
_TRANSACTIONAL, _CONTROL, _UNKNOWN_CODEC = 0x10, 0x20, 5
_GZIP_SET = 1
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
    return with_attributes(written, ZSTD, first)


def with_attributes(written: bytes | bytearray, attributes: int, first: int) -> bytearray:
    return finish(written[:_CODEC_AT] + struct.pack(">h", attributes) + written[_CODEC_AT + 2 :], first)


def emptied(first: int, attributes: int) -> bytearray:
    """A batch as the log cleaner leaves it when it has removed its last record: the header alone."""
    header = batch(first, [b""])[:_RECORDS_AT]
    struct.pack_into(">i", header, _COUNT_AT, 0)
    return of_transaction(header, attributes, first)


def of_transaction(written: bytearray, attributes: int, first: int) -> bytearray:
    """A batch of the transactional producer 7."""
    struct.pack_into(">qh", written, _PRODUCER_AT, 7, 0)
    return with_attributes(written, attributes, first)


def abort_marker(first: int) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 0, b"\0\0\0\0", b"\0\0\0\0\0\0", [])
    return of_transaction(bytearray(builder.build()), _TRANSACTIONAL | _CONTROL, first)


def old_set(magic: int, values: list[bytes], codec: int = 0, first: int = 0) -> bytes:
    """A message set of a format before 2, of records with the timestamp 7 where the format has one."""
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 30)
    for number, value in enumerate(values):
        builder.append(first + number, 7, None, value)
    return bytes(builder.build())


def compressed_set(last: int, payload: bytes, codec: int = _GZIP_SET) -> bytearray:
    """A compressed message set of format 1: one record at the offset of its last, which contains the others."""
    fields = struct.pack(">bbq", 1, codec, 7) + struct.pack(">ii", -1, len(payload)) + payload
    checked = struct.pack(">I", zlib.crc32(fields)) + fields
    return bytearray(struct.pack(">qi", last, len(checked)) + checked)


def finish(written: bytes | bytearray, first: int) -> bytearray:
    finished = bytearray(written)
    struct.pack_into(">qi", finished, 0, first, len(finished) - 12)
    struct.pack_into(">I", finished, _CRC_AT, calc_crc32c(bytes(finished[_CODEC_AT:])))
    return finished


def fetched(
    *batches: bytes | bytearray, position: int, aborted: list[tuple[int, int]] | None = None
) -> ReadablePartitionRecords:
    """What is read of `batches`; `aborted` are producers and the first offsets of their aborted transactions."""
    records = MemoryRecords(b"".join(batches))
    return ReadablePartitionRecords(TopicPartition("t", 3), records, aborted, position, None, None, True, 1)


class FreeableBatches:
    """What aiokafka parses a fetch with, as an object whose end can be observed."""

    def __init__(self, *batches: bytes | bytearray) -> None:
        records = MemoryRecords(b"".join(batches))
        self.has_next, self.next_batch = records.has_next, records.next_batch


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
    assert isinstance(unreadable, UnreadableRecord)
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


@pytest.mark.parametrize("attributes", [_TRANSACTIONAL | _CONTROL, _TRANSACTIONAL])
def test_batch_that_compaction_has_emptied_is_passed_over(attributes: int) -> None:
    records = fetched(emptied(4, attributes), batch(5, [b"a"]), position=4)
    assert described([*records]) == [5]


def test_abort_marker_ends_the_transaction() -> None:
    first, second = (of_transaction(batch(offset, [b"a"]), _TRANSACTIONAL, offset) for offset in (4, 6))
    assert described([*fetched(first, abort_marker(5), second, position=4, aborted=[(7, 4)])]) == [6]


def test_batch_of_an_unknown_codec_is_unreadable() -> None:
    unknown = with_attributes(batch(4, [b"a", b"b"]), _UNKNOWN_CODEC, 4)
    assert described([*fetched(unknown, batch(6, [b"c"]), position=4)]) == [
        "UnreadableRecord 4",
        "UnreadableRecord 5",
        6,
    ]


def test_set_that_is_compressed_twice_is_unreadable() -> None:
    inner = compressed_set(1, gzip.compress(old_set(1, [b"a", b"b"])))
    twice = compressed_set(5, gzip.compress(inner))
    assert described([*fetched(twice, old_set(1, [b"c"], first=6), position=4)]) == [
        "UnreadableRecord 4",
        "UnreadableRecord 5",
        6,
    ]


@pytest.mark.parametrize(("magic", "timestamp"), [(0, -1), (1, 7)])
def test_record_of_an_old_format_has_its_timestamp_or_none(magic: int, timestamp: int) -> None:
    records = fetched(old_set(magic, [b"a", b"b"], first=4), position=4)
    assert [(record.offset, record.timestamp, record.value) for record in records] == [
        (4, timestamp, b"a"),
        (5, timestamp, b"b"),
    ]


@pytest.mark.parametrize("value", [b"", b"a", b"a" * 1_000])
def test_log_that_changes_its_format_is_read(value: bytes) -> None:
    """aiokafka would parse what follows in the format of the first batch."""
    following = batch(6, [value] * 2)
    records = fetched(old_set(1, [b"a", b"b"], first=4), following, position=4)
    assert described([*records]) == [4, 5]
    assert described([*fetched(following, position=records.next_fetch_offset)]) == [6, 7]


def test_old_set_that_is_too_large_stands_for_all_offsets_from_the_position_on() -> None:
    """Its header has only the last offset."""
    values = [b" " * (MAX_INFLATED_BYTES // 4)] * 5
    too_large = compressed_set(8, gzip.compress(old_set(1, values), compresslevel=1))
    unreadable, following = fetched(too_large, old_set(1, [b"a"], first=9), position=4)
    assert isinstance(unreadable, UnreadableRecord)
    assert (unreadable.first_offset, unreadable.offset, unreadable.records) == (4, 8, 5)
    assert "records at 4 to 8" in unreadable.reason
    assert following.offset == 9


def test_records_of_an_old_set_that_cannot_be_inflated_are_all_unreadable() -> None:
    corrupt = compressed_set(6, b"not gzip")
    assert described([*fetched(corrupt, old_set(1, [b"a"], first=7), position=4)]) == [
        *(f"UnreadableRecord {offset}" for offset in (4, 5, 6)),
        7,
    ]


def test_record_of_an_old_format_with_a_negative_size_is_unreadable() -> None:
    corrupt = old_set(1, [b"a"], first=4).replace(b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe")
    assert described([*fetched(corrupt, position=4)]) == ["UnreadableRecord 4"]


@pytest.mark.parametrize("read", [0, 1, 3], ids=["not read", "half read", "read"])
@pytest.mark.parametrize("bad", [None, 1], ids=["readable", "unreadable"])
def test_fetch_that_is_discarded_is_freed_without_garbage_collection(read: int, bad: int | None) -> None:
    """A pause discards what was fetched: some MB of each partition, and what a batch has inflated to."""
    batches = FreeableBatches(batch(4, [b"a"] * 3, bad=bad), batch(7, [b"b"]))
    records = ReadablePartitionRecords(TopicPartition("t", 3), batches, None, 4, None, None, True, 1)
    gc.disable()
    try:
        for _ in range(read):
            next(records)
        is_kept = weakref.ref(batches)
        del batches, records
        assert is_kept() is None
    finally:
        gc.enable()
