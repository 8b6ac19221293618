"""Record batches that no Kafka client would write."""

import struct
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.record.util import calc_crc32c

_LENGTH_AT, _LENGTH_FROM = 8, 12
_CRC_AT, _CRC_FROM = 17, 21
"""Offsets of the checksum of a record batch (message format 2), and of the bytes that it covers."""
_CODEC_AT, _RECORDS_AT = 21, 61
_NAME = "~~~~"
_NOT_UTF8 = b"\xff\xfe\xff\xfe"


async def send_unreadable(servers: str, topic: str, partition: int, good_around: list[bytes]) -> int:
    """Send one batch: half of `good_around`, a record whose header name is not UTF-8, and the rest.

    Returns the position of the bad one in the batch.
    """
    middle = len(good_around) // 2
    values = [*good_around[:middle], b"{}", *good_around[middle:]]
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        batch = unreadable_batch(producer, [(value, None) for value in values], middle)
        await (await producer.send_batch(batch, topic, partition=partition))
    return middle


async def send_corrupt(servers: str, topic: str, partition: int, count: int, codec: int, payload: bytes) -> bool:
    """Send a batch of `corrupt_batch`; returns whether the broker has stored it."""
    async with AIOKafkaProducer(bootstrap_servers=servers, request_timeout_ms=5_000) as producer:
        batch = corrupt_batch(producer, count, codec, payload)
        try:
            await (await producer.send_batch(batch, topic, partition=partition))
        except KafkaError:
            return False
    return True


def unreadable_batch(producer: AIOKafkaProducer, records: Sequence[tuple[bytes | None, int | None]], bad: int) -> Any:
    """A batch for `send_batch` of values and timestamps; the one at `bad` has a header whose name is not UTF-8."""
    batch = producer.create_batch()
    for position, (value, timestamp) in enumerate(records):
        headers = [(_NAME, b"x")] if position == bad else []
        batch.append(key=None, value=value, timestamp=timestamp, headers=headers)
    batch.close()
    batch._build()
    return _replace_bytes(batch, bytes(batch._buffer).replace(_NAME.encode(), _NOT_UTF8))


def corrupt_batch(producer: AIOKafkaProducer, count: int, codec: int, payload: bytes) -> Any:
    """A batch for `send_batch` that declares `count` records compressed by `codec`, and contains `payload`."""
    batch = producer.create_batch()
    for _ in range(count):
        batch.append(key=None, value=b"{}", timestamp=None)
    batch.close()
    batch._build()
    written = bytearray(batch._buffer[:_RECORDS_AT]) + payload
    struct.pack_into(">h", written, _CODEC_AT, codec)
    return _replace_bytes(batch, written)


def _replace_bytes(batch: Any, written: bytes | bytearray) -> Any:
    """Replace the bytes of `batch`, with the right length and checksum."""
    batch._buffer = bytearray(written)
    struct.pack_into(">i", batch._buffer, _LENGTH_AT, len(written) - _LENGTH_FROM)
    struct.pack_into(">I", batch._buffer, _CRC_AT, calc_crc32c(memoryview(batch._buffer)[_CRC_FROM:]))
    return batch
