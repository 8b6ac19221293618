"""Reads a topic from its beginning to its current end, and which offsets a consumer group has committed of it.

The end of a partition is the high watermark of a fetch, not of ListOffsets: Tansu's end offsets stop before the last
batch. Apache Kafka returns the same with both.

The reader joins no group and assigns the partitions itself, so that two replays do not wait for each other, and an
audit does not take partitions from the workers.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.core.errors import DependencyError
from worker.core.model import Record
from worker.kafka.bounded_consumer import ByteBudget, create_consumer, poll_bounded
from worker.kafka.connection import CONNECT_SECONDS, require_topics, start_clients, stop_client
from worker.kafka.target import KafkaTarget
from worker.ports import TopicReader

log = structlog.get_logger(__name__)

T = TypeVar("T")

_POLL_MS = 500
_SILENCE_SECONDS = 30.0
"""If a fetch brings no record for this long, although there are more, Kafka counts as unavailable."""
_FETCH_BYTES = 4 * 1024 * 1024
_POLL_RECORDS = 2_000
"""Records per poll, so that the event loop is not blocked for long."""
_POLL_BYTES = 4 * 1024 * 1024


class KafkaTopicReader(TopicReader):
    """The `TopicReader` of `worker.ports`.

    Args:
        group_id: whose committed offsets can be fetched; without one no right on a group is needed.
        fetch_bytes: of a partition with each request; few where single records are read.
    """

    def __init__(
        self,
        target: KafkaTarget,
        topic: str,
        group_id: str | None = None,
        silence_seconds: float = _SILENCE_SECONDS,
        fetch_bytes: int = _FETCH_BYTES,
    ) -> None:
        self._target = target
        self._topic = topic
        self._group_id = group_id
        self._silence_seconds = silence_seconds
        self._fetch_bytes = fetch_bytes
        self._partitions: dict[int, TopicPartition] = {}
        self._consumer: AIOKafkaConsumer
        self._group_consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect. Raises DependencyError if no broker answers, or the topic is missing."""
        count = (await require_topics(self._target, [self._topic]))[self._topic]
        # Created only now: a consumer that is created and not stopped logs an error.
        self._consumer = create_consumer(
            self._target,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=self._fetch_bytes,
        )
        consumers = [self._consumer]
        if self._group_id is not None:
            # A consumer of its own, because aiokafka's group coordinator fails when partitions are assigned again.
            self._group_consumer = AIOKafkaConsumer(
                **self._target.options(), group_id=self._group_id, enable_auto_commit=False
            )
            consumers.append(self._group_consumer)
        await start_clients(self._target, *consumers)
        self._partitions = {number: TopicPartition(self._topic, number) for number in range(count)}
        for consumer in consumers:
            consumer.assign(list(self._partitions.values()))
            consumer.pause(*self._partitions.values())

    async def close(self) -> None:
        """Disconnect; to be called after `start`."""
        await stop_client(self._consumer.stop())
        if self._group_consumer is not None:
            await stop_client(self._group_consumer.stop())

    async def fetch_offset_ranges(self) -> Mapping[int, range]:
        """See `worker.ports.TopicReader`."""
        partitions = list(self._partitions.values())
        first_offsets = await self._request(self._consumer.beginning_offsets(partitions))
        # Assigned again, so that no earlier fetch in flight counts: it would return an earlier end.
        self._consumer.assign(partitions)
        async with self._timeout(self._silence_seconds, "end of the topic"):
            while any(self._consumer.highwater(partition) is None for partition in partitions):
                await self._poll(1)
        self._consumer.pause(*partitions)
        return {
            number: range(first_offsets[partition], max(first_offsets[partition], self._end(partition)))
            for number, partition in self._partitions.items()
        }

    def _end(self, partition: TopicPartition) -> int:
        # Records of a transaction that is still open are not returned.
        ends = (self._consumer.highwater(partition), self._consumer.last_stable_offset(partition))
        known: list[int] = [end for end in ends if end is not None and end >= 0]
        return min(known)

    async def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        """See `worker.ports.TopicReader`."""
        topic_partition = self._partitions[partition]
        next_offset = offsets.start
        if next_offset >= offsets.stop:
            return
        self._consumer.seek(topic_partition, next_offset)
        self._consumer.resume(topic_partition)
        try:
            last_progress = monotonic()
            while next_offset < offsets.stop:
                polled, position = await self._read_some(topic_partition, next_offset)
                if position > next_offset:
                    next_offset, last_progress = position, monotonic()
                elif monotonic() - last_progress > self._silence_seconds:
                    raise DependencyError(
                        f"Kafka returns no records of {self._topic}/{partition} from {next_offset} on"
                    )
                if records := [record for record in polled if record.offset < offsets.stop]:
                    yield records
                    last_progress = monotonic()  # what the caller did meanwhile is no silence of Kafka
        finally:
            self._consumer.pause(topic_partition)

    async def _read_some(self, partition: TopicPartition, next_offset: int) -> tuple[Sequence[Record], int]:
        """The next records, and the next offset, which is not the one after the last record where there are gaps."""
        polled = await self._poll(_POLL_RECORDS, partition)
        # After a seek, a poll of a paused partition may return records of the previous position.
        polled = [record for record in polled if record.offset >= next_offset]
        position: int = await self._request(self._consumer.position(partition))
        return polled, max(next_offset, position)

    async def _poll(self, max_records: int, *partitions: TopicPartition) -> list[Record]:
        try:
            polled = await poll_bounded(
                self._consumer,
                *partitions,
                timeout_ms=_POLL_MS,
                max_records=max_records,
                budget=ByteBudget(_POLL_BYTES),
            )
        except KafkaError as error:
            raise self._refused_error(error) from error
        return [record for records in polled.values() for record in records]

    async def fetch_committed_offsets(self) -> Mapping[int, int]:
        """The committed offset of each partition; a partition without one is left out."""
        committed: dict[int, int] = {}
        if self._group_consumer is not None:
            for number, partition in self._partitions.items():
                offset = await self._request(self._group_consumer.committed(partition))
                if offset is not None:
                    committed[number] = offset
        return committed

    async def fetch_offsets_since(self, timestamp: int) -> Mapping[int, int]:
        """The offset of the first record from `timestamp` (ms) on in each partition that has one, as Kafka tells it.

        Raises DependencyError when Kafka cannot be reached, or refuses.
        """
        answer = await self._request(
            self._consumer.offsets_for_times(dict.fromkeys(self._partitions.values(), timestamp))
        )
        found = {number: answer.get(partition) for number, partition in self._partitions.items()}
        return {number: first.offset for number, first in found.items() if first and first.timestamp >= timestamp}

    async def _request(self, answer: Awaitable[T]) -> T:
        async with self._timeout(CONNECT_SECONDS, "answer"):
            try:
                return await answer
            except KafkaError as error:
                raise self._refused_error(error) from error

    def _refused_error(self, error: KafkaError) -> DependencyError:
        group = "" if self._group_id is None else f" or the group {self._group_id}"
        return DependencyError(f"Kafka refuses {self._topic}{group}: {type(error).__name__}: {error}")

    @asynccontextmanager
    async def _timeout(self, seconds: float, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise DependencyError(f"{self._topic}: Kafka gave no {what} within {seconds:g} s") from error
