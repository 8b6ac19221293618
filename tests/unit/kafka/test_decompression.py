"""What a record batch may inflate to, with aiokafka's own parser and every codec."""

import tracemalloc
from collections.abc import Iterator, Sequence
from random import randbytes

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from tests.support.inflating import CODECS, GZIP, LZ4, SNAPPY, ZSTD, compress, record_chunks, record_with_headers
from worker.kafka import decompression
from worker.kafka.decompression import MAX_INFLATED_BYTES, RecordBatchTooLarge, bound_decompression
from worker.kafka.record_headers import MAX_HEADERS, MAX_RECORDS, UNCHECKED_BYTES, check_records
from worker.kafka.unreadable import UNREADABLE

each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
_HEADER_BYTES, _CODEC_AT, _COUNT_AT = 61, 22, 57


@pytest.fixture(autouse=True)
def _bounded() -> None:
    bound_decompression(check_records)


def read_values(batch: bytes | bytearray) -> list[bytes | None]:
    """The values of a record batch, as aiokafka parses it."""
    parsed = MemoryRecords(bytes(batch)).next_batch()
    assert parsed is not None
    return [record.value for record in parsed]


def inflate(codec: int, payload: bytes) -> memoryview:
    name = {number: name for name, number in CODECS.items()}[codec]
    return decompression._CODECS[f"{name}_decode"](payload)


def batch_of(codec: int, values: Sequence[bytes]) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        builder.append(number, 0, None, value, [])
    return bytearray(builder.build())


def compressed_batch(codec: int, records: Iterator[bytes], count: int) -> bytearray:
    """A batch of encoded records."""
    batch = batch_of(0, [b""])[:_HEADER_BYTES] + compress(codec, records)
    batch[_CODEC_AT] = codec
    batch[8:12] = (len(batch) - 12).to_bytes(4)
    batch[_COUNT_AT:_HEADER_BYTES] = count.to_bytes(4)
    return batch


def inflating_batch(codec: int, inflated: int) -> bytearray:
    """A batch of one record that inflates to so many bytes."""
    record_overhead = sum(map(len, record_chunks(inflated, 1))) - inflated
    return compressed_batch(codec, record_chunks(inflated - record_overhead, 1), count=1)


@each_codec
@pytest.mark.parametrize("size", [0, 1, 100, 100_000, 5_000_000])
def test_ordinary_batches_are_read(codec: int, size: int) -> None:
    values = [bytes(range(256)) * (size // 256) + b"x" * (size % 256), b"", b"last"]
    assert read_values(batch_of(codec, values)) == values


@each_codec
def test_batch_that_inflates_to_the_bound_is_read_and_one_byte_more_is_not(codec: int) -> None:
    (value,) = read_values(inflating_batch(codec, MAX_INFLATED_BYTES))
    assert value is not None
    assert value.isspace()
    assert MAX_INFLATED_BYTES - 20 < len(value) < MAX_INFLATED_BYTES
    with pytest.raises(RecordBatchTooLarge, match="more than 32 MiB"):
        read_values(inflating_batch(codec, MAX_INFLATED_BYTES + 1))


@each_codec
def test_large_batch_is_inflated_into_pages_of_its_own(codec: int) -> None:
    payload = compress(codec, iter([randbytes(MAX_INFLATED_BYTES // 16) * 16]))
    tracemalloc.start()
    try:
        inflated = inflate(codec, payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(inflated) == MAX_INFLATED_BYTES
    assert peak < MAX_INFLATED_BYTES // 4


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4])
def test_batches_of_the_format_before_are_bounded(codec: int) -> None:
    def legacy(size: int) -> bytearray:
        builder = LegacyRecordBatchBuilder(1, codec, 1 << 30)
        builder.append(0, 0, None, b" " * size)
        return bytearray(builder.build())

    assert read_values(legacy(1_000_000)) == [b" " * 1_000_000]
    with pytest.raises(RecordBatchTooLarge):
        read_values(legacy(MAX_INFLATED_BYTES))


def test_raw_snappy_is_bounded() -> None:
    assert bytes(inflate(SNAPPY, bytes(cramjam.snappy.compress_raw(b"abc")))) == b"abc"
    with pytest.raises(RecordBatchTooLarge):
        inflate(SNAPPY, bytes(cramjam.snappy.compress_raw(b" " * (MAX_INFLATED_BYTES + 1))))


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_successive_frames_are_read_as_one(codec: int) -> None:
    frames = compress(codec, iter([b"abc"])) + compress(codec, iter([b"def"]))
    assert bytes(inflate(codec, frames)) == b"abcdef"


@each_codec
@pytest.mark.parametrize("size", [1, 100, 5_000_000])
def test_stream_that_is_cut_off_is_an_error(codec: int, size: int) -> None:
    stream = compress(codec, iter([b"x" * size]))
    for cut in (1, 3, len(stream) // 2):
        with pytest.raises(UNREADABLE):
            inflate(codec, stream[:-cut])


@pytest.mark.parametrize("size", [-4, -1, 0, 2**31 - 1])
def test_snappy_block_with_an_impossible_size_is_an_error(size: int) -> None:
    header = compress(SNAPPY, iter(()))
    with pytest.raises(cramjam.DecompressionError):
        inflate(SNAPPY, header + size.to_bytes(4, signed=True) + b"\xff" * 8)


@each_codec
@pytest.mark.parametrize(("headers", "is_read"), [(MAX_HEADERS, True), (MAX_HEADERS + 1, False), (16_000_000, False)])
def test_headers_of_a_large_record_are_counted_before_they_are_parsed(codec: int, headers: int, is_read: bool) -> None:
    before, large = b"\x0e\0\0\0\x01\x02{\0", record_with_headers(UNCHECKED_BYTES, headers)
    batch = compressed_batch(codec, iter([before, large]), count=2)
    if is_read:
        assert read_values(batch) == [b"{", b" " * UNCHECKED_BYTES]
    else:
        with pytest.raises(RecordBatchTooLarge, match=f"has {headers} headers"):
            read_values(batch)


@each_codec
def test_records_of_a_large_batch_are_counted_before_they_are_parsed(codec: int) -> None:
    record = b"\x0c\0\0\0\x01\x01\0"
    assert len(read_values(compressed_batch(codec, iter([record * MAX_RECORDS]), count=MAX_RECORDS))) == MAX_RECORDS
    with pytest.raises(RecordBatchTooLarge, match="more than 500000 records"):
        read_values(compressed_batch(codec, iter([record * (MAX_RECORDS + 1)]), count=MAX_RECORDS + 1))


@pytest.mark.parametrize("tail", [b"\xff", b"\xff" * 20, b"\x01", b"\x80\x80\x80\x10", b"\xfe\xff\x0f"])
def test_large_corrupt_batch_is_unreadable(tail: bytes) -> None:
    record = b"\x0c\0\0\0\x01\x01\0"
    with pytest.raises(UNREADABLE):
        read_values(compressed_batch(ZSTD, iter([record * 200_000 + tail]), count=200_001))


def test_version_of_aiokafka_that_inflates_in_another_way_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "_CODECS", decompression._CODECS | {"brotli_decode": bytes})
    with pytest.raises(ImportError, match="has no brotli_decode"):
        bound_decompression(check_records)
