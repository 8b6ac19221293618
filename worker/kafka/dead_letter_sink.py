"""Writes dead letters, and waits until all in-sync replicas have acknowledged them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import time
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.core.errors import DeadLetterUnavailable
from worker.core.model import Failed, FailedMetric
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.observability.tracing import NO_TRACING, Tracing

log = structlog.get_logger(__name__)

_MAX_PENDING = 10_000

_Encode = Callable[[Failed, WorkerInfo, int], EncodedDeadLetter]


class KafkaDeadLetterSink:
    """The `DeadLetterSink` of `worker.ports` on a topic.

    `producer` is started, with acks=all. `tracing` adds the current trace to the dead letter of a record without one.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        worker_info: WorkerInfo,
        timeout_seconds: float,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._worker_info = worker_info
        self._tracing = tracing
        self._timeout_seconds = timeout_seconds
        self._pending: dict[tuple[str, int, int, int, str | None], asyncio.Future[Any]] = {}

    async def find_problem(self) -> str | None:
        """Why dead letters cannot be acknowledged now, in words; None if each partition has a leader."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._producer.client.force_metadata_update()
                partitions = await self._producer.partitions_for(self._topic)
        except (KafkaError, TimeoutError) as error:
            return f"{self._topic}: {type(error).__name__}: {error}"
        leader_of = self._producer.client.cluster.leader_for_partition
        leaderless = [
            number for number in sorted(partitions) if leader_of(TopicPartition(self._topic, number)) in (None, -1)
        ]
        return f"{self._topic}: partitions {leaderless} have no leader" if leaderless else None

    async def write(self, failed: Sequence[Failed]) -> Sequence[int]:
        """See `worker.ports.DeadLetterSink`. A dead letter that is still being sent is not sent again."""
        now = int(time() * 1000)
        # Encoded one by one: a thousand metrics of one event can each contain the same megabyte of user_id.
        outcomes = await self._send_all(failed, encode_dead_letter, now)
        too_large = [position for position, error in outcomes.items() if isinstance(error, MessageSizeTooLargeError)]
        pointers = []
        for position in too_large:
            outcomes[position], encode = await self._send_smaller(failed[position], now)
            if encode is encode_pointer and outcomes[position] is None:
                pointers.append(position)
        unacknowledged = {position: error for position, error in outcomes.items() if error is not None}
        if unacknowledged:
            reasons = {f"{type(error).__name__}: {error}" for error in unacknowledged.values()}
            raise DeadLetterUnavailable(
                f"{self._topic}: {'; '.join(sorted(reasons))[:500]}", sorted(unacknowledged), pointers
            )
        return pointers

    async def _send_smaller(self, failed: Failed, now: int) -> tuple[BaseException | None, _Encode]:
        """Send it alone, since another record of its batch may be the large one; as a pointer if it is itself."""
        encode: _Encode
        for encode in (encode_dead_letter, encode_pointer):
            error = (await self._send_all([failed], encode, now))[0]
            if not isinstance(error, MessageSizeTooLargeError):
                break
        return error, encode

    async def _send_all(self, failed: Sequence[Failed], encode: _Encode, now: int) -> dict[int, BaseException | None]:
        """The error of each of `failed`, by position: None if it is acknowledged."""
        outcomes: dict[int, BaseException | None] = dict.fromkeys(range(len(failed)), TimeoutError("not acknowledged"))
        futures: dict[int, asyncio.Future[Any]] = {}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for position, item in enumerate(failed):
                    try:
                        if (key := _pending_key(item)) in self._pending:
                            futures[position] = self._pending.pop(key)
                        else:
                            futures[position] = await self._send(encode(item, self._worker_info, now))
                    except KafkaError as error:
                        outcomes[position] = error
                if futures:
                    await asyncio.wait(futures.values())
        except TimeoutError:
            log.warning("dead letters not acknowledged in time", seconds=self._timeout_seconds)
        except asyncio.CancelledError:
            self._keep_pending((failed[position], future) for position, future in futures.items())
            raise
        self._keep_pending((failed[position], future) for position, future in futures.items() if not future.done())
        return outcomes | {
            position: future.exception()
            for position, future in futures.items()
            if future.done() and not future.cancelled()
        }

    def _keep_pending(self, unacknowledged: Iterable[tuple[Failed, asyncio.Future[Any]]]) -> None:
        """Keep what is not acknowledged: aiokafka cannot cancel it, so sending it again could write it twice."""
        self._pending |= {_pending_key(item): future for item, future in unacknowledged}
        while len(self._pending) > _MAX_PENDING:  # after a rebalance another member may write them
            del self._pending[next(iter(self._pending))]

    async def _send(self, dead_letter: EncodedDeadLetter) -> asyncio.Future[Any]:
        headers = list(self._tracing.with_trace_context(dead_letter.headers))
        future: asyncio.Future[Any] = await self._producer.send(
            self._topic, dead_letter.value, dead_letter.key, timestamp_ms=dead_letter.timestamp, headers=headers
        )
        return future


def _pending_key(failed: Failed) -> tuple[str, int, int, int, str | None]:
    """The key of a dead letter: there is one for each failed metric of a record, or for the record."""
    record = failed.event.record if isinstance(failed, FailedMetric) else failed.record
    metric = failed.metric if isinstance(failed, FailedMetric) else None
    # With the timestamp: a topic that is deleted and created again starts at offset 0.
    return record.topic, record.partition, record.offset, record.timestamp, metric
