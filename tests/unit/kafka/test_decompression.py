"""What a record batch may inflate to, with aiokafka's own parser and every codec."""

from collections.abc import Sequence

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from tests.support.inflating import CODECS, GZIP, LZ4, SNAPPY, ZSTD, compress, record_chunks
from worker.kafka import decompression
from worker.kafka.decompression import MAX_INFLATED_BYTES, InflatedTooLarge, bound_decompression

each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
_HEADER_BYTES, _CODEC_AT = 61, 22


@pytest.fixture(autouse=True)
def _bounded() -> None:
    bound_decompression()


def read_values(batch: bytes | bytearray) -> list[bytes | None]:
    """The values of a record batch, as aiokafka parses it."""
    parsed = MemoryRecords(bytes(batch)).next_batch()
    assert parsed is not None
    return [record.value for record in parsed]


def batch_of(codec: int, values: Sequence[bytes]) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        builder.append(number, 0, None, value, [])
    return bytearray(builder.build())


def inflating_batch(codec: int, inflated: int) -> bytearray:
    """A batch of one record that inflates to so many bytes."""
    record_overhead = sum(map(len, record_chunks(inflated, 1))) - inflated
    payload = compress(codec, record_chunks(inflated - record_overhead, 1))
    batch = batch_of(0, [b""])[:_HEADER_BYTES] + payload
    batch[_CODEC_AT] = codec
    batch[8:12] = (len(batch) - 12).to_bytes(4)
    return batch


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
    with pytest.raises(InflatedTooLarge, match="more than 32 MiB"):
        read_values(inflating_batch(codec, MAX_INFLATED_BYTES + 1))


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4])
def test_batches_of_the_format_before_are_bounded(codec: int) -> None:
    def legacy(size: int) -> bytearray:
        builder = LegacyRecordBatchBuilder(1, codec, 1 << 30)
        builder.append(0, 0, None, b" " * size)
        return bytearray(builder.build())

    assert read_values(legacy(1_000_000)) == [b" " * 1_000_000]
    with pytest.raises(InflatedTooLarge):
        read_values(legacy(MAX_INFLATED_BYTES))


def test_raw_snappy_is_bounded() -> None:
    assert bytes(decompression._snappy_decode(bytes(cramjam.snappy.compress_raw(b"abc")))) == b"abc"
    with pytest.raises(InflatedTooLarge):
        decompression._snappy_decode(bytes(cramjam.snappy.compress_raw(b" " * (MAX_INFLATED_BYTES + 1))))


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
def test_successive_frames_are_read_as_one(codec: int) -> None:
    decode = {GZIP: decompression._gzip_decode, LZ4: decompression._lz4_decode, ZSTD: decompression._zstd_decode}
    frames = compress(codec, iter([b"abc"])) + compress(codec, iter([b"def"]))
    assert bytes(decode[codec](frames)) == b"abcdef"


@pytest.mark.parametrize("size", [-4, -1, 0, 2**31 - 1])
def test_snappy_block_with_an_impossible_size_is_an_error(size: int) -> None:
    header = compress(SNAPPY, iter(()))
    with pytest.raises(cramjam.DecompressionError):
        decompression._snappy_decode(header + size.to_bytes(4, signed=True) + b"\xff" * 8)


def test_version_of_aiokafka_that_inflates_in_another_way_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "_CODECS", decompression._CODECS | {"brotli_decode"})
    with pytest.raises(ImportError, match="has no brotli_decode"):
        bound_decompression()
