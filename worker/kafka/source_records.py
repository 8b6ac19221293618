"""Fetching single source records, for dead letters that only point to them."""

from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.core.errors import DependencyError
from worker.core.model import Record
from worker.kafka.connection import KafkaTarget, require_topics, stop_client, unreachable
from worker.kafka.starting import start_consumers

_POLL_MS = 500
_SILENCE_SECONDS = 15.0


class KafkaSourceRecordFetcher:
    """The `SourceRecordFetcher` of `worker.ports`. It connects with the first record that is asked for."""

    def __init__(self, target: KafkaTarget) -> None:
        self._target = target
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: dict[str, int] = {}

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await stop_client(self._consumer.stop())

    async def fetch(self, topic: str, partition: int, offset: int) -> Record | None:
        """See `worker.ports.SourceRecordFetcher`."""
        if partition >= await self._partitions_of(topic):
            return None
        consumer = await self._connected()
        try:
            return await self._at(consumer, TopicPartition(topic, partition), offset)
        except KafkaError as error:
            raise unreachable(error) from error
        except UnicodeDecodeError:
            return None  # a header that the client cannot read

    async def _at(self, consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> Record | None:
        consumer.assign([partition])
        consumer.seek(partition, offset)
        deadline = monotonic() + _SILENCE_SECONDS
        while monotonic() < deadline:
            some = await consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=1)
            for record in some.get(partition, ()):
                # An offset that is gone is answered with the first that is left.
                return record if record.offset == offset else None
            end = consumer.highwater(partition)
            if end is not None and end <= offset:
                return None
        raise DependencyError(f"Kafka does not hand out {partition.topic}/{partition.partition}/{offset}")

    async def _partitions_of(self, topic: str) -> int:
        """How many partitions `topic` has; 0 where it does not exist."""
        # Not by asking for the topic itself, which a broker may create for whoever asks.
        if topic not in self._partitions:
            try:
                self._partitions |= await require_topics(self._target, [topic])
            except DependencyError as error:
                if isinstance(error.__cause__, KafkaError | OSError):
                    raise
                self._partitions[topic] = 0
        return self._partitions[topic]

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        consumer = AIOKafkaConsumer(
            **self._target.options(), auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await start_consumers(self._target, consumer)
        self._consumer = consumer
        return consumer
