"""Records that no ordinary client would write."""

import struct

from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

_CRC_AT, _CRC_FROM = 17, 21
"""Where the checksum of a record batch (message format 2) stands, and where what it covers begins."""
_NAME = "~~~~"
_NOT_UTF8 = b"\xff\xfe\xff\xfe"


async def send_unreadable(servers: str, topic: str, partition: int, good_around: list[bytes]) -> int:
    """Put one batch: half of `good_around`, a record whose header name is not UTF-8, and the rest.

    Returns the position of the bad one in the batch.
    """
    middle = len(good_around) // 2
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        batch = producer.create_batch()
        for value in good_around[:middle]:
            batch.append(key=None, value=value, timestamp=None)
        batch.append(key=None, value=b"{}", timestamp=None, headers=[(_NAME, b"x")])
        for value in good_around[middle:]:
            batch.append(key=None, value=value, timestamp=None)
        batch.close()
        batch._build()
        written = bytes(batch._buffer).replace(_NAME.encode(), _NOT_UTF8)
        batch._buffer = bytearray(written)
        struct.pack_into(">I", batch._buffer, _CRC_AT, calc_crc32c(memoryview(batch._buffer)[_CRC_FROM:]))
        await (await producer.send_batch(batch, topic, partition=partition))
    return middle
