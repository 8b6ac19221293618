"""The Kafka side of the demo: send records, read dead letters and the committed offsets of the worker's group."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import MessageSizeTooLargeError

from deploy.local.demo.dead_letters import parse_dead_letter
from deploy.local.demo.expectations import RecordPosition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from deploy.local.demo.careless import Message
    from deploy.local.demo.dead_letters import FoundDeadLetter

_MOST_IN_FLIGHT = 2_000
_POLL_MS = 500


async def send_messages(
    bootstrap_servers: str,
    topic: str,
    messages: Iterable[Message],
    on_acknowledged: Callable[[Message, RecordPosition, int], None],
) -> int:
    """Send `messages`; call `on_acknowledged` with each that is acknowledged, its position and its timestamp in ms.

    Returns how many messages were not sent, because they are larger than the topic allows.
    """
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", linger_ms=5, max_batch_size=65_536)
    in_flight: deque[tuple[Message, int, Any]] = deque()
    too_large = 0

    async def await_oldest() -> None:
        message, timestamp, acknowledged = in_flight.popleft()
        at = await acknowledged  # its timestamp is that of the batch
        on_acknowledged(message, RecordPosition(at.partition, at.offset), timestamp)

    try:  # an interrupted start must be stopped too
        await producer.start()
        for message in messages:
            timestamp = int(time.time() * 1_000) if message.timestamp_ms is None else message.timestamp_ms
            fields = {"key": message.key, "headers": list(message.headers), "timestamp_ms": timestamp}
            try:
                in_flight.append((message, timestamp, await producer.send(topic, message.value, **fields)))
            except MessageSizeTooLargeError:
                too_large += 1
            if len(in_flight) > _MOST_IN_FLIGHT:
                await await_oldest()
        while in_flight:
            await await_oldest()
    finally:
        await producer.stop()
    return too_large


async def read_dead_letters(bootstrap_servers: str, topic: str, on_letter: Callable[[FoundDeadLetter], None]) -> None:
    """Call `on_letter` with every dead letter that is on `topic` now."""
    async for record in read_records(bootstrap_servers, topic):
        on_letter(parse_dead_letter(record.key, record.value or b"", tuple(record.headers)))


async def read_records(bootstrap_servers: str, topic: str) -> AsyncGenerator[Any, None]:
    """Every record that is on `topic` now, one partition after the other."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    try:  # an interrupted start must be stopped too
        await consumer.start()
        for partition in await _assign_partitions(consumer, bootstrap_servers, topic):
            # Not end_offsets: Tansu returns the first record of the last batch. The high watermark of a fetch is right.
            while (end := consumer.highwater(partition)) is None or await consumer.position(partition) < end:
                records = await consumer.getmany(partition, timeout_ms=_POLL_MS)
                for record in records.get(partition, ()):
                    yield record
    finally:
        await consumer.stop()


async def read_committed_offsets(bootstrap_servers: str, topic: str, group: str) -> dict[int, int]:
    """The next offset that `group` would read, by partition; 0 where nothing is committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
    try:  # an interrupted start must be stopped too
        await consumer.start()
        partitions = await _assign_partitions(consumer, bootstrap_servers, topic)
        return {partition.partition: await consumer.committed(partition) or 0 for partition in partitions}
    finally:
        await consumer.stop()


async def _assign_partitions(consumer: AIOKafkaConsumer, bootstrap_servers: str, topic: str) -> list[TopicPartition]:
    """Assign every partition of `topic` to `consumer`, without its group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    partitions = [TopicPartition(topic, part["partition"]) for part in described["partitions"]]
    consumer.assign(partitions)
    return partitions
