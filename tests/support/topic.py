"""What tests put onto topics and read from them."""

import asyncio
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

_READ_SECONDS = 20.0
_QUIET_MILLISECONDS = 500
"""So long without a record, and there is none; the broker is on this machine."""


_KEY = {False: None, True: b"gone"}
"""A tombstone must have a key."""


async def send(
    servers: str,
    topic: str,
    values: Sequence[bytes | None],
    *,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
    partition: int | None = None,
    timestamps: Sequence[int] = (),
    **options: Any,
) -> None:
    """Put records onto a topic, acknowledged; `timestamps` are in ms, `options` are aiokafka's producer's own."""
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=5, **options) as producer:
        sent = [
            await producer.send(
                topic,
                value,
                _KEY[value is None] if key is None else key,
                partition=partition,
                timestamp_ms=timestamp,
                headers=list(headers),
            )
            for value, timestamp in zip_longest(values, timestamps)
        ]
        await asyncio.gather(*sent)


async def read(servers: str, topic: str, count: int) -> list[ConsumerRecord]:
    """The first `count` records of a topic; fewer if no more come in time, so that a test shows what is missing."""
    records: list[ConsumerRecord] = []
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                while len(records) < count:
                    some = await consumer.getmany(timeout_ms=200)
                    records += [record for batch in some.values() for record in batch]
        except TimeoutError:
            return records
    return records


async def size(servers: str, topic: str) -> int:
    """How many records a topic has; by reading them, because Tansu's end offsets stop before the last batch."""
    count = 0
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        while some := await consumer.getmany(timeout_ms=_QUIET_MILLISECONDS):
            count += sum(map(len, some.values()))
    return count


async def committed(servers: str, topic: str, group: str, partitions: int) -> dict[int, int | None]:
    """The next offset that a group would read, by partition."""
    async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False) as consumer:
        return {number: await consumer.committed(TopicPartition(topic, number)) for number in range(partitions)}


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    """The headers as text, the last of each name."""
    return {name: value.decode("utf-8", "backslashreplace") for name, value in record.headers}
