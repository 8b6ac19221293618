"""Reads past records that aiokafka cannot parse.

At such a record aiokafka discards the records that it read before, advances its position all the same, and fails again
at every poll. So the caller seeks back to the last returned records, and `poll_one_by_one` polls until it fails with
nothing else read: then the position is that of the record. The records after it in the same record batch are lost too,
because aiokafka parses a batch from its start.
"""

import zlib
from collections.abc import Awaitable, Callable, Sequence
from gzip import BadGzipFile

import cramjam
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException

from worker.core.model import Record, UnreadableRecord

UNREADABLE = (
    UnicodeDecodeError,
    CorruptRecordException,
    cramjam.DecompressionError,
    BadGzipFile,
    EOFError,
    zlib.error,
)
"""aiokafka raises these on a record, or a record batch, that it cannot parse. Of such records Apache Kafka accepts only
those with header names that are not UTF-8; other brokers store any bytes."""


async def poll_one_by_one(
    poll: Callable[[], Awaitable[Sequence[Record]]], skip: Callable[[], Awaitable[UnreadableRecord]], max_records: int
) -> list[Record]:
    """Poll until there are `max_records`, or a poll is empty.

    `poll` reads one record of one partition; `skip` moves behind the record at the position, which cannot be parsed.
    """
    records: list[Record] = []
    while len(records) < max_records:
        try:
            polled = await poll()
        except UNREADABLE:
            records.append(await skip())
            continue
        if not polled:
            break
        records += polled
    return records


async def skip_unreadable(consumer: AIOKafkaConsumer, partition: TopicPartition) -> UnreadableRecord:
    """Seek behind the record at the position."""
    offset: int = await consumer.position(partition)
    consumer.seek(partition, offset + 1)
    return UnreadableRecord(partition.topic, partition.partition, offset)
