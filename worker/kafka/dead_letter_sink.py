"""Writes dead letters, and waits until all in-sync replicas have acknowledged them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import time
from typing import Any, NamedTuple

import structlog
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.core.errors import DependencyError
from worker.core.model import Failed, Headers
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.kafka.topic_producer import BATCH_REFUSED, TopicProducer
from worker.observability.tracing import NO_TRACING, Tracing
from worker.ports import DeadLetterOutcome, DeadLetterSink

log = structlog.get_logger(__name__)

_MAX_PENDING = 10_000
"""Dead letters whose acknowledgement may still come. A batch that waits sends the same ones again, a thousand at once;
more are left only by batches that a rebalance has dropped."""

_Encode = Callable[[Failed, WorkerInfo, int], EncodedDeadLetter]
_Key = tuple[str, int, int, int, str | None]


class _Sent(NamedTuple):
    """A dead letter that is sent, in full or as a pointer."""

    acknowledgement: asyncio.Future[Any]
    is_pointer: bool


class _Outcome(NamedTuple):
    """What became of a dead letter: without an error it is acknowledged."""

    error: BaseException | None
    is_pointer: bool = False


_NOT_ACKNOWLEDGED = _Outcome(TimeoutError("not acknowledged"))


class KafkaDeadLetterSink(DeadLetterSink):
    """The `DeadLetterSink` of `worker.ports` on the topic of a producer.

    `tracing` adds the current trace to the dead letter of a record without one.
    """

    def __init__(
        self, producer: TopicProducer, worker_info: WorkerInfo, timeout_seconds: float, tracing: Tracing = NO_TRACING
    ) -> None:
        self._producer = producer
        self._worker_info = worker_info
        self._timeout_seconds = timeout_seconds
        self._tracing = tracing
        self._pending: dict[_Key, _Sent] = {}

    async def find_problem(self) -> str | None:
        """Why dead letters cannot be acknowledged now, or would not be kept, in words; None if nothing is wrong."""
        try:
            leaderless = await self._find_leaderless_partitions()
        except (KafkaError, DependencyError, TimeoutError) as error:
            return self._describe_error(error)
        if leaderless:
            return f"{self._producer.topic}: partitions {leaderless} have no leader"
        return await self._producer.find_compaction_problem()

    async def find_missing_topic(self) -> str | None:
        """That the topic was deleted, or that this user may not see it any more; None otherwise.

        None as well while brokers are away: that ends by itself, and holds the worker once a dead letter waits for it.
        """
        try:
            await self._find_leaderless_partitions()
        except (UnknownTopicOrPartitionError, TopicAuthorizationFailedError) as error:
            return self._describe_error(error)
        except (KafkaError, DependencyError, TimeoutError) as error:
            log.debug("no broker describes the dead-letter topic", error=str(error))
        return None

    async def _find_leaderless_partitions(self) -> list[int]:
        async with asyncio.timeout(self._timeout_seconds):
            return await self._producer.find_leaderless_partitions()

    def _describe_error(self, error: BaseException) -> str:
        return f"{self._producer.topic}: {type(error).__name__}: {error}"

    async def write(self, failed: Sequence[Failed]) -> Sequence[DeadLetterOutcome]:
        """See `worker.ports.DeadLetterSink`. A dead letter that is still being sent is not sent again."""
        now = int(time() * 1000)
        outcomes = await self._send_all(dict(enumerate(failed)), now)
        for position in [at for at, outcome in outcomes.items() if isinstance(outcome.error, BATCH_REFUSED)]:
            outcomes[position] = await self._send_alone(failed[position], now)
            if outcomes[position].error is not None:
                break  # not because of others of its batch: the next would fail too
        return [self._describe(outcomes[at]) for at in range(len(failed))]

    def _describe(self, outcome: _Outcome) -> DeadLetterOutcome:
        if (error := outcome.error) is None:
            return DeadLetterOutcome(is_pointer=outcome.is_pointer)
        return DeadLetterOutcome(self._describe_error(error))

    async def _send_alone(self, failed: Failed, now: int) -> _Outcome:
        """Send it as a batch of its own, and as a pointer if that is refused because of its size."""
        for _ in range(2):
            outcome = (await self._send_all({0: failed}, now, alone=True))[0]
            if outcome.is_pointer or not isinstance(outcome.error, MessageSizeTooLargeError):
                break
        return outcome

    async def _send_all(self, failed: Mapping[int, Failed], now: int, *, alone: bool = False) -> dict[int, _Outcome]:
        """Send each of `failed`, and wait for the acknowledgements."""
        outcomes = dict.fromkeys(failed, _NOT_ACKNOWLEDGED)
        sent: dict[int, _Sent] = {}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                try:
                    # Encoded one by one: a thousand metrics of one event can each contain the same long texts.
                    for at, item in failed.items():
                        pending = self._pending.pop(_pending_key(item), None)
                        sent[at] = pending or await self._send(item, now, alone=alone)
                except (KafkaError, DependencyError) as error:  # the topic cannot be written to
                    # Its traceback would keep these dead letters, and itself, until Python collects garbage.
                    outcomes = dict.fromkeys(failed, _Outcome(error.with_traceback(None)))
                if sent:
                    await asyncio.wait([future for future, _ in sent.values()])
        except TimeoutError:
            log.warning("dead letters not acknowledged in time", seconds=self._timeout_seconds)
        finally:
            # Also when this is cancelled: aiokafka cannot cancel them, so sending them again could write them twice.
            self._keep_pending({_pending_key(failed[at]): item for at, item in sent.items()})
        return outcomes | {
            at: _Outcome(future.exception(), is_pointer) for at, (future, is_pointer) in sent.items() if future.done()
        }

    def _keep_pending(self, sent: Mapping[_Key, _Sent]) -> None:
        self._pending |= {key: item for key, item in sent.items() if not item.acknowledgement.done()}
        while len(self._pending) > _MAX_PENDING:  # after a rebalance another member may write them
            del self._pending[next(iter(self._pending))]

    async def _send(self, failed: Failed, now: int, *, alone: bool) -> _Sent:
        """Send it in full if it fits the topic, else as a pointer."""
        send = self._producer.send_alone if alone else self._producer.send
        letter, headers = self._encode(encode_dead_letter, failed, now)
        with suppress(MessageSizeTooLargeError):
            future = await send(letter.value, letter.key, timestamp=now, headers=headers)
            return _Sent(future, is_pointer=False)
        letter, headers = self._encode(encode_pointer, failed, now)
        with suppress(MessageSizeTooLargeError):
            return _Sent(await send(letter.value, letter.key, timestamp=now, headers=headers), is_pointer=True)
        # Only the broker's answer shows that the topic takes pointers again.
        future = await self._producer.send_alone(
            letter.value, letter.key, timestamp=now, headers=headers, check_size=False
        )
        return _Sent(future, is_pointer=True)

    def _encode(self, encode: _Encode, failed: Failed, now: int) -> tuple[EncodedDeadLetter, Headers]:
        letter = encode(failed, self._worker_info, now)
        return letter, self._tracing.with_trace_context(letter.headers)


def _pending_key(failed: Failed) -> _Key:
    """The key of a dead letter: there is one for each failed metric of a record, or for the record."""
    record = failed.record
    # With the timestamp: a topic that is deleted and created again starts at offset 0.
    return record.topic, record.partition, record.offset, record.timestamp, failed.metric
