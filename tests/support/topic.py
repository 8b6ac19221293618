"""Send records to topics and read them, in tests."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

_READ_SECONDS = 60.0
"""More than a worker takes to start and to isolate rows where other tests use the CPUs."""
_QUIET_MILLISECONDS = 500
"""After so long without a record the topic is read; the broker is on this machine."""
_TOMBSTONE_KEY = b"gone"
"""A record without a value must have a key."""


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
    """Send records and wait for acknowledgement; `timestamps` in ms, `options` as of aiokafka's producer."""
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=5, **options) as producer:
        sent = [
            await producer.send(
                topic,
                value,
                _TOMBSTONE_KEY if key is None and value is None else key,
                partition=partition,
                timestamp_ms=timestamp,
                headers=list(headers),
            )
            for value, timestamp in zip_longest(values, timestamps)
        ]
        await asyncio.gather(*sent)


async def limit_batches(servers: str, topic: str, max_bytes: int) -> None:
    """From then on the broker refuses larger batches of records."""
    await configure(servers, topic, {"max.message.bytes": str(max_bytes)})


async def configure(servers: str, topic: str, values: dict[str, str]) -> None:
    """Set these values of the configuration of a topic, and all others to their defaults."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=values)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        (answer,) = await admin.alter_configs([resource])
        assert not any(code for code, *_ in answer.resources), answer
        async with asyncio.timeout(_READ_SECONDS):
            # Apache Kafka acknowledges a configuration before the broker uses it.
            while not await _has_configuration(admin, resource, values):  # noqa: ASYNC110 - the broker must be polled
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def _has_configuration(admin: AIOKafkaAdminClient, topic: ConfigResource, values: dict[str, str]) -> bool:
    (answer,) = await admin.describe_configs([topic])
    return values.items() <= {name: value for name, value, *_ in answer.resources[0][4]}.items()


async def read(servers: str, topic: str, count: int) -> list[ConsumerRecord]:
    """The first `count` records of a topic; fewer after 60 s, so that a test can show what is missing."""
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
    """How many records a topic has; it reads them, because Tansu's end offsets are those of the last batch."""
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


async def delete_records(servers: str, topic: str, before: Mapping[int, int]) -> None:
    """Delete the records before an offset of each partition, as retention does; Tansu cannot."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, n): RecordsToDelete(offset) for n, offset in before.items()})
    finally:
        await admin.close()


async def delete_topic(servers: str, topic: str) -> None:
    """Delete a topic; Kafka deletes the offsets that groups have committed with it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


async def commit(servers: str, topic: str, group: str, offsets: Mapping[int, int]) -> None:
    """Commit offsets for a group without members."""
    async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(topic, number) for number in offsets])
        await consumer.commit({TopicPartition(topic, number): offset for number, offset in offsets.items()})
