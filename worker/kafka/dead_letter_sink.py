"""The dead-letter topic: what failed, acknowledged by every replica in sync before anybody moves on."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import time
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.core.errors import DeadLetterUnavailable
from worker.core.model import Failed, FailedMetric
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo, dead_letter, pointer
from worker.observability.tracing import NO_TRACING, Tracing

log = structlog.get_logger(__name__)

_REMEMBERED = 10_000

_Form = Callable[[Failed, WorkerInfo, int], EncodedDeadLetter]


class KafkaDeadLetterSink:
    """The `DeadLetterSink` of `worker.ports` on a topic.

    Args:
        producer: started, with acks=all.
        topic: the dead-letter topic.
        head: what every dead letter says of this worker.
        timeout_seconds: how long to wait for acknowledgements before they count as missing.
        tracing: names the trace in which something failed, in the letter of a record that names none.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        head: WorkerInfo,
        timeout_seconds: float,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._head = head
        self._tracing = tracing
        self._timeout_seconds = timeout_seconds
        self._under_way: dict[tuple[str, int, int, int, str | None], asyncio.Future[Any]] = {}

    async def find_problem(self) -> str | None:
        """Why dead letters could not be acknowledged now, in words; None where each partition has a leader."""
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
        """See `worker.ports.DeadLetterSink`. What is put again while it is on its way is waited for, not sent again."""
        now = int(time() * 1000)
        # One after the other: a thousand metrics of one event can each carry the same megabyte of user_id.
        outcomes = await self._send_all(failed, dead_letter, now)
        too_large = [position for position, error in outcomes.items() if isinstance(error, MessageSizeTooLargeError)]
        pointers = []
        for position in too_large:
            outcomes[position], form = await self._send_smaller(failed[position], now)
            if form is pointer and outcomes[position] is None:
                pointers.append(position)
        missing = {position: error for position, error in outcomes.items() if error is not None}
        if missing:
            reasons = {f"{type(error).__name__}: {error}" for error in missing.values()}
            raise DeadLetterUnavailable(f"{self._topic}: {'; '.join(sorted(reasons))[:500]}", sorted(missing), pointers)
        return pointers

    async def _send_smaller(self, failed: Failed, now: int) -> tuple[BaseException | None, _Form]:
        """Alone, because a neighbour in its batch may have been the large one, and if need be as a pointer."""
        form: _Form
        for form in (dead_letter, pointer):
            error = (await self._send_all([failed], form, now))[0]
            if not isinstance(error, MessageSizeTooLargeError):
                break
        return error, form

    async def _send_all(self, failed: Sequence[Failed], form: _Form, now: int) -> dict[int, BaseException | None]:
        """What became of each of `failed`, by position: None when it is acknowledged."""
        outcomes: dict[int, BaseException | None] = dict.fromkeys(range(len(failed)), TimeoutError("not acknowledged"))
        futures: dict[int, asyncio.Future[Any]] = {}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for position, item in enumerate(failed):
                    try:
                        if (source := _source(item)) in self._under_way:
                            futures[position] = self._under_way.pop(source)
                        else:
                            futures[position] = await self._send(form(item, self._head, now))
                    except KafkaError as error:
                        outcomes[position] = error
                if futures:
                    await asyncio.wait(futures.values())
        except TimeoutError:
            log.warning("dead letters not acknowledged in time", seconds=self._timeout_seconds)
        except asyncio.CancelledError:
            self._remember((failed[position], future) for position, future in futures.items())
            raise
        self._remember((failed[position], future) for position, future in futures.items() if not future.done())
        return outcomes | {
            position: future.exception()
            for position, future in futures.items()
            if future.done() and not future.cancelled()
        }

    def _remember(self, unsettled: Iterable[tuple[Failed, asyncio.Future[Any]]]) -> None:
        """The client takes nothing back, and delivers when it can: sent again it would be there twice."""
        self._under_way |= {_source(item): future for item, future in unsettled}
        while len(self._under_way) > _REMEMBERED:  # another member may have to put them, and nobody will ask here
            del self._under_way[next(iter(self._under_way))]

    async def _send(self, letter: EncodedDeadLetter) -> asyncio.Future[Any]:
        headers = list(self._tracing.with_trace_context(letter.headers))
        future: asyncio.Future[Any] = await self._producer.send(
            self._topic, letter.value, letter.key, timestamp_ms=letter.timestamp, headers=headers
        )
        return future


def _source(failed: Failed) -> tuple[str, int, int, int, str | None]:
    """Of what it is the dead letter: there is one for a metric of a record, or for a record."""
    record = failed.event.record if isinstance(failed, FailedMetric) else failed.record
    metric = failed.metric if isinstance(failed, FailedMetric) else None
    # The timestamp as well: a topic that is made again begins at offset 0.
    return record.topic, record.partition, record.offset, record.timestamp, metric
