"""Record batches of spaces: small on the topic, large once inflated. Each is built in little memory."""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
from aiokafka import AIOKafkaProducer

from tests.support.hostile import corrupt_batch

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
"""As the attributes of a record batch have them."""
CODECS = {"gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
_MIB = 1024 * 1024
LARGEST_BYTES = {GZIP: 700 * _MIB, SNAPPY: 20 * _MIB, LZ4: 230 * _MIB, ZSTD: 700 * _MIB}
"""The size of a record of spaces that Apache Kafka takes by its defaults; gzip and zstd could hold much more."""
_CHUNK = _MIB
_XERIAL_BLOCK = 32 * 1024
_XERIAL_HEADER = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)


async def send_inflating(
    servers: str, topic: str, partition: int, codec: int, value_bytes: int, count: int = 1
) -> None:
    """Send a batch of `count` records; the value of each is `value_bytes` spaces. Apache Kafka stores it."""
    await _send_batch(servers, topic, partition, codec, record_chunks(value_bytes, count), count)


async def send_headers(servers: str, topic: str, partition: int, headers: int) -> None:
    """Send a batch of one record with so many headers, which have neither a name nor a value."""
    await _send_batch(servers, topic, partition, ZSTD, iter([record_with_headers(0, headers)]), 1)


async def _send_batch(
    servers: str, topic: str, partition: int, codec: int, records: Iterator[bytes], count: int
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        batch = corrupt_batch(producer, count, codec, compress(codec, records))
        await (await producer.send_batch(batch, topic, partition=partition))


def record_with_headers(value_bytes: int, headers: int) -> bytes:
    """A record as it is before compression, of spaces and so many empty headers."""
    body = b"\0\0\0\x01" + varint(value_bytes) + b" " * value_bytes + varint(headers) + b"\0\x01" * headers
    return varint(len(body)) + body


def record_chunks(value_bytes: int, count: int) -> Iterator[bytes]:
    """The records of a batch as they are before compression, in chunks."""
    for number in range(count):
        head = b"\0" + varint(0) + varint(number) + varint(-1) + varint(value_bytes)
        yield varint(len(head) + value_bytes + 1) + head
        for _ in range(value_bytes // _CHUNK):
            yield b" " * _CHUNK
        yield b" " * (value_bytes % _CHUNK) + b"\0"  # no headers


def compress(codec: int, chunks: Iterator[bytes]) -> bytes:
    """Compress as a Kafka client does."""
    return _COMPRESS[codec](chunks)


def _gzip(chunks: Iterator[bytes]) -> bytes:
    stream = zlib.compressobj(wbits=31)
    return b"".join(map(stream.compress, chunks)) + stream.flush()


def _xerial_snappy(chunks: Iterator[bytes]) -> bytes:
    blocks = [_XERIAL_HEADER]
    for chunk in chunks:
        for start in range(0, len(chunk), _XERIAL_BLOCK):
            block = bytes(cramjam.snappy.compress_raw(chunk[start : start + _XERIAL_BLOCK]))
            blocks += (struct.pack(">i", len(block)), block)
    return b"".join(blocks)


def _stream(stream: Any, chunks: Iterator[bytes]) -> bytes:
    for chunk in chunks:
        stream.compress(chunk)
    return bytes(stream.finish())


def _lz4(chunks: Iterator[bytes]) -> bytes:
    # Kafka's brokers read frames of independent blocks only.
    return _stream(cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False), chunks)


def _zstd(chunks: Iterator[bytes]) -> bytes:
    return _stream(cramjam.zstd.Compressor(level=3), chunks)


def varint(number: int) -> bytes:
    """`number` in zigzag encoding, seven bits a byte."""
    encoded = bytearray()
    rest = 2 * number if number >= 0 else -2 * number - 1
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


_COMPRESS: dict[int, Callable[[Iterator[bytes]], bytes]] = {
    GZIP: _gzip,
    SNAPPY: _xerial_snappy,
    LZ4: _lz4,
    ZSTD: _zstd,
}
