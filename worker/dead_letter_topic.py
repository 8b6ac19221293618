"""The dead-letter topic: what failed, acknowledged by every replica in sync before anybody moves on."""

import asyncio
from collections.abc import Iterable, Sequence
from time import time
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.dead_letter import DeadLetter, Letterhead, dead_letter, pointer
from worker.errors import DeadLetterUnavailable
from worker.model import Failed

log = structlog.get_logger(__name__)


class KafkaDeadLetters:
    """The `DeadLetters` of `worker.ports` on a topic.

    Args:
        producer: started, with acks=all.
        topic: the dead-letter topic.
        head: what every dead letter says of this worker.
        timeout_seconds: how long to wait for acknowledgements before they count as missing.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, head: Letterhead, timeout_seconds: float) -> None:
        self._producer = producer
        self._topic = topic
        self._head = head
        self._timeout_seconds = timeout_seconds

    async def put(self, failed: Sequence[Failed]) -> None:
        """See `worker.ports.DeadLetters`."""
        now = int(time() * 1000)
        # One after the other: a thousand metrics of one event can each carry the same megabyte of user_id.
        outcomes = await self._send_all(len(failed), (dead_letter(item, self._head, now) for item in failed))
        too_large = [position for position, error in outcomes.items() if isinstance(error, MessageSizeTooLargeError)]
        for position in too_large:
            outcomes[position] = await self._send_smaller(failed[position], now)
        missing = {position: error for position, error in outcomes.items() if error is not None}
        if missing:
            reasons = {f"{type(error).__name__}: {error}" for error in missing.values()}
            raise DeadLetterUnavailable(f"{self._topic}: {'; '.join(sorted(reasons))[:500]}", sorted(missing))

    async def _send_smaller(self, failed: Failed, now: int) -> BaseException | None:
        """Alone, because a neighbour in its batch may have been the large one, and if need be as a pointer."""
        for letter in (dead_letter(failed, self._head, now), pointer(failed, self._head, now)):
            error = (await self._send_all(1, [letter]))[0]
            if not isinstance(error, MessageSizeTooLargeError):
                return error
        return error

    async def _send_all(self, count: int, letters: Iterable[DeadLetter]) -> dict[int, BaseException | None]:
        """What became of each of `count` letters, by position: None when it is acknowledged."""
        outcomes: dict[int, BaseException | None] = dict.fromkeys(range(count), TimeoutError("not acknowledged"))
        futures: dict[asyncio.Future[Any], int] = {}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for position, letter in enumerate(letters):
                    try:
                        futures[await self._send(letter)] = position
                    except KafkaError as error:
                        outcomes[position] = error
                if futures:
                    await asyncio.wait(futures)
        except TimeoutError:
            log.warning("dead letters not acknowledged in time", seconds=self._timeout_seconds)
        for future, position in futures.items():
            if future.done():
                outcomes[position] = future.exception()
        return outcomes

    async def _send(self, letter: DeadLetter) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await self._producer.send(
            self._topic, letter.value, letter.key, timestamp_ms=letter.timestamp, headers=list(letter.headers)
        )
        return future
