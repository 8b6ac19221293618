"""Fetches single source records, for dead letters that only point to them."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.core.errors import DependencyError
from worker.core.model import Record, UnreadableRecord
from worker.kafka.bounded_consumer import ByteBudget, create_consumer, poll_bounded
from worker.kafka.connection import require_topics, start_clients, stop_client, unreachable_error
from worker.kafka.target import KafkaTarget
from worker.ports import SourceRecordFetcher

_POLL_MS = 500
_READ_SECONDS = 15.0


class KafkaSourceRecordFetcher(SourceRecordFetcher):
    """The `SourceRecordFetcher` of `worker.ports`. It connects when the first record is fetched."""

    def __init__(self, target: KafkaTarget) -> None:
        self._target = target
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: dict[str, int] = {}

    async def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await stop_client(self._consumer.stop())

    async def fetch(self, topic: str, partition: int, offset: int) -> Record | None:
        """See `worker.ports.SourceRecordFetcher`."""
        if partition >= await self._count_partitions(topic):
            return None
        consumer = await self._connect()
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await self._read_at(consumer, TopicPartition(topic, partition), offset)
        except KafkaError as error:
            raise unreachable_error(error) from error
        except TimeoutError as error:
            raise DependencyError(f"Kafka does not return {topic}/{partition}/{offset}") from error

    async def _read_at(self, consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> Record | None:
        consumer.assign([partition])
        consumer.seek(partition, offset)
        while True:
            polled = await poll_bounded(consumer, partition, timeout_ms=_POLL_MS, max_records=1, budget=ByteBudget(1))
            for record in polled.get(partition, ()):
                # For a deleted offset Kafka returns the first record after it.
                return record if record.offset == offset and not isinstance(record, UnreadableRecord) else None
            end = consumer.highwater(partition)
            # The position moves beyond a deleted offset also where no record follows.
            if (end is not None and end <= offset) or await consumer.position(partition) > offset:
                return None

    async def _count_partitions(self, topic: str) -> int:
        """The number of partitions of `topic`; 0 if it does not exist."""
        if topic not in self._partitions:
            try:
                self._partitions |= await require_topics(self._target, [topic])
            except DependencyError as error:
                if isinstance(error.__cause__, KafkaError | OSError):
                    raise
                self._partitions[topic] = 0
        return self._partitions[topic]

    async def _connect(self) -> AIOKafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        consumer = create_consumer(self._target, auto_offset_reset="earliest", isolation_level="read_committed")
        await start_clients(self._target, consumer)
        self._consumer = consumer
        return consumer
