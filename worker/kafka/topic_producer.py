"""A producer for one topic, which replaces aiokafka's producer when that can no longer deliver.

- **A gap in the sequence numbers.** An idempotent producer numbers its records. aiokafka counts a batch when it first
  takes it from its queue, and never takes that back. When it gives the batch up (the broker refuses it, or its
  partition has had no leader for 40 s), the broker misses those numbers, and refuses every later batch of the partition
  as OUT_OF_ORDER_SEQUENCE_NUMBER. Only a new producer id starts again at 0.
- **A dead sender.** One task of aiokafka's producer sends everything. If it ends, records wait for ever.

So a producer is replaced as soon as one of its records fails, whatever the reason, or its sender ends. The replaced one
still delivers what it has queued, or fails it, so that nothing is sent by both.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OutOfOrderSequenceNumber
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from worker.core.model import Headers
from worker.kafka.connection import start_clients, stop_client
from worker.kafka.retention import find_compaction_problem
from worker.kafka.size_limit import SizeLimit
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_leaders import find_leaderless_partitions

log = structlog.get_logger(__name__)

BATCH_REFUSED = (MessageSizeTooLargeError, OutOfOrderSequenceNumber)
"""Another record may be the reason: one of the same batch is too large, or the batch before it was refused. The record
is not stored, and must be sent alone."""

_Acknowledgement = asyncio.Future[Any]


class TopicProducer:
    """Produces to one topic with acks=all: an acknowledged record is on all in-sync replicas.

    `send` and `send_alone` return a future that is done when the record is acknowledged. They raise KafkaError if the
    topic cannot be written to, and DependencyError if no broker answers. `topic` is the name of the topic.
    """

    def __init__(self, target: KafkaTarget, topic: str, *, idempotent: bool) -> None:
        self._target = target
        self.topic = topic
        self._idempotent = idempotent
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._replaced: set[asyncio.Task[None]] = set()
        self._partitioner = DefaultPartitioner()
        self._limit = SizeLimit(target, topic)

    async def start(self) -> None:
        """Connect. Raises DependencyError if no broker answers."""
        await self._current_producer()

    async def close(self) -> None:
        """Deliver what is queued, for at most 3 s, and disconnect."""
        if self._producer is not None:
            self._retire(self._producer)
        if self._replaced:
            await stop_client(asyncio.gather(*self._replaced))

    async def find_leaderless_partitions(self) -> list[int]:
        """The partitions of the topic that have no leader now.

        Raises KafkaError if the topic is missing or forbidden, and DependencyError if no broker answers.
        """
        producer = await self._current_producer()
        return await find_leaderless_partitions(producer.client, self.topic)

    async def find_compaction_problem(self) -> str | None:
        """Why the topic does not keep every record; see `worker.kafka.retention`."""
        return await find_compaction_problem(self._target, self.topic)

    async def send(
        self, value: bytes, key: bytes | None, *, timestamp: int | None = None, headers: Headers = ()
    ) -> _Acknowledgement:
        """Queue a record, in a batch with others. The future can fail with `BATCH_REFUSED`.

        `timestamp` is in milliseconds since 1970; without one it is the time of sending.

        Raises:
            MessageSizeTooLargeError: the record is larger than the topic is known to allow.
        """
        await self._require_fitting(value, key, headers)

        async def enqueue(producer: AIOKafkaProducer) -> _Acknowledgement:
            future: _Acknowledgement = await producer.send(
                self.topic, value, key, timestamp_ms=timestamp, headers=list(headers)
            )
            future.add_done_callback(partial(self._check, producer, None))
            return future

        return await self._enqueue(enqueue)

    async def send_alone(
        self,
        value: bytes,
        key: bytes | None,
        *,
        timestamp: int | None = None,
        headers: Headers = (),
        partition: int | None = None,
        check_size: bool = True,
    ) -> _Acknowledgement:
        """Queue a record as a batch of its own. If the broker refuses its size, records of this size are too large.

        Without `check_size` it is sent whatever its size: the topic may allow more by now. Otherwise as `send`.
        Without `partition` the key decides.
        """
        if check_size:
            await self._require_fitting(value, key, headers)

        async def enqueue(producer: AIOKafkaProducer) -> _Acknowledgement:
            batch = producer.create_batch()
            batch.append(timestamp=timestamp, key=key, value=value, headers=list(headers))
            batch.close()
            partitions = sorted(await producer.partitions_for(self.topic)) if partition is None else [partition]
            target = self._partitioner(key, partitions, partitions)
            size = batch.size()
            future: _Acknowledgement = await producer.send_batch(batch, self.topic, partition=target)
            future.add_done_callback(partial(self._check, producer, size))
            return future

        return await self._enqueue(enqueue)

    async def _enqueue(self, enqueue: Callable[[AIOKafkaProducer], Awaitable[_Acknowledgement]]) -> _Acknowledgement:
        while True:
            producer = await self._current_producer()
            try:
                return await enqueue(producer)
            except KafkaError:
                if producer is self._producer:
                    raise
                # It was replaced while this record waited for room in its queue: the record is not in the queue.

    async def _require_fitting(self, value: bytes, key: bytes | None, headers: Headers) -> None:
        size = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, list(headers))
        if not await self._limit.allows(size):
            raise MessageSizeTooLargeError(f"{size} bytes; {self.topic} allows {self._limit.record_bytes}")

    async def _current_producer(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        async with self._starting:
            if self._producer is None:
                self._producer = await self._start_producer()
            return self._producer

    async def _start_producer(self) -> AIOKafkaProducer:
        await self._limit.apply_topic_limit()
        producer = AIOKafkaProducer(
            **self._target.options(),
            acks="all",
            enable_idempotence=self._idempotent,
            max_batch_size=self._limit.batch_bytes,
            linger_ms=2,
        )
        await start_clients(self._target, producer)
        # aiokafka does not check this task: if it is cancelled, its records wait for ever, without an error.
        producer._sender.sender_task.add_done_callback(partial(self._fail_queue, producer))  # noqa: SLF001
        return producer

    def _check(self, producer: AIOKafkaProducer, size: int | None, future: _Acknowledgement) -> None:
        """`size` is that of a batch of one record; None for a batch that may have several."""
        if future.cancelled() or (error := future.exception()) is None:
            return
        if isinstance(error, MessageSizeTooLargeError):
            if size is not None:
                self._limit.record_refused(size)
            elif producer is self._producer:
                self._limit.batch_refused()
        self._retire(producer, error)

    def _fail_queue(self, producer: AIOKafkaProducer, sender: asyncio.Task[None]) -> None:
        error = None if sender.cancelled() else sender.exception()
        error = error or KafkaError("the Kafka client has stopped sending")
        producer._message_accumulator.fail_all(error)  # noqa: SLF001 - there is no public way
        self._retire(producer, error)

    def _retire(self, producer: AIOKafkaProducer, error: BaseException | None = None) -> None:
        """Let the next record start another producer; this one stops when its queue is empty."""
        if self._producer is None or self._producer is not producer:
            return
        self._producer = None
        if error is not None:
            log.warning("the producer is replaced", topic=self.topic, error=f"{type(error).__name__}: {error}")
        stopping = asyncio.create_task(stop_client(producer.stop(), seconds=None), name="stop-producer")
        self._replaced.add(stopping)
        stopping.add_done_callback(self._replaced.discard)


@asynccontextmanager
async def open_producer(target: KafkaTarget, topic: str, *, idempotent: bool) -> AsyncIterator[TopicProducer]:
    """A started producer for `topic`. Raises DependencyError if no broker answers."""
    producer = TopicProducer(target, topic, idempotent=idempotent)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close()
