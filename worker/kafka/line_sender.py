"""Sends lines to a topic, each as the value of a record, and waits for the acknowledgements.

Lines of a refused batch are sent again behind later lines, so their offsets are not in the order of the lines. The
timestamps are: a line keeps the one of its first sending, and the worker's version of a row begins with the timestamp.
So an event never replaces its correction in a later line, unless the topic has `message.timestamp.type=LogAppendTime`:
then the broker sets the timestamps, and only lines that are not refused are sure to be in order.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import time
from typing import NamedTuple, Protocol

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.core.errors import DependencyError, InvalidEvent
from worker.events.decode import canonical_id
from worker.events.tolerant_json import parse_json
from worker.kafka.connection import unreachable_error
from worker.kafka.topic_producer import BATCH_REFUSED

_MAX_IN_FLIGHT = 1_000
"""Records that wait for their acknowledgement at the same time."""
_MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024
_Errors = tuple[type[KafkaError], ...]
_TOO_LARGE: _Errors = (MessageSizeTooLargeError,)


class Producer(Protocol):
    """The part of `TopicProducer` that is used."""

    async def send(self, value: bytes, key: bytes | None, *, timestamp: int) -> Awaitable[object]:
        """Queue a record; the returned awaitable is done when the record is acknowledged."""

    async def send_alone(self, value: bytes, key: bytes | None, *, timestamp: int) -> Awaitable[object]:
        """Queue a record as a batch of its own."""


class Line(NamedTuple):
    """A line of a file; numbers are from 1."""

    number: int
    value: bytes


class _Record(NamedTuple):
    """A line as a record: `timestamp` is when it was first sent, in milliseconds since 1970."""

    number: int
    value: bytes
    key: bytes | None
    timestamp: int


class _Send(Protocol):
    def __call__(self, value: bytes, key: bytes | None, *, timestamp: int) -> Awaitable[Awaitable[object]]:
        """`send` or `send_alone` of a `Producer`."""


class LineSender:
    """Sends lines to one topic, and waits for their acknowledgements.

    `acknowledged` counts the lines; `too_large` has the numbers of those that are larger than the topic allows.
    """

    def __init__(
        self, producer: Producer, topic: str, timeout_seconds: float, clock: Callable[[], float] = time
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._in_flight: deque[tuple[_Record, asyncio.Future[object]]] = deque()
        self._bytes_in_flight = 0
        self._last_timestamps: dict[bytes, int] = {}
        self.acknowledged = 0
        self.too_large: list[int] = []

    async def send(self, line: Line) -> None:
        """Send `line`; when too many lines or bytes are in flight, wait for all of them first."""
        if len(self._in_flight) >= _MAX_IN_FLIGHT or self._bytes_in_flight >= _MAX_BYTES_IN_FLIGHT:
            await self.flush()
        self._bytes_in_flight += len(line.value)
        key = _record_key(line.value)
        await self._enqueue(_Record(line.number, line.value, key, self._next_timestamp(key)), self._producer.send)

    async def flush(self) -> None:
        """Wait until each line is acknowledged or known to be too large."""
        refused = []
        while self._in_flight:
            record, acknowledgement = self._in_flight.popleft()
            if not await self._is_acknowledged(record, acknowledgement, BATCH_REFUSED):
                refused.append(record)
        self._bytes_in_flight = 0
        for record in refused:
            await self._enqueue(record, self._producer.send_alone)
            if self._in_flight and not await self._is_acknowledged(*self._in_flight.popleft(), _TOO_LARGE):
                self.too_large.append(record.number)
        self._forget_timestamps()

    def cancel(self) -> None:
        """Stop waiting for lines in flight; some of them may still arrive."""
        for _, acknowledgement in self._in_flight:
            if not acknowledgement.cancel() and not acknowledgement.cancelled():
                acknowledgement.exception()  # retrieved, so that asyncio does not log it: the failure is reported
        self._in_flight.clear()

    def _next_timestamp(self, key: bytes | None) -> int:
        """The time, but later than that of the line before with the same `key`, which may have the same millisecond."""
        now = int(self._clock() * 1000)
        if key is None:
            return now
        self._last_timestamps[key] = max(now, self._last_timestamps.get(key, -1) + 1)
        return self._last_timestamps[key]

    def _forget_timestamps(self) -> None:
        """Forget those of the past: every later line has a later one."""
        now = int(self._clock() * 1000)
        self._last_timestamps = {key: last for key, last in self._last_timestamps.items() if last >= now}

    async def _enqueue(self, record: _Record, send: _Send) -> None:
        try:
            async with self._deadline(record, _TOO_LARGE):
                acknowledgement = await send(record.value, record.key, timestamp=record.timestamp)
        except MessageSizeTooLargeError:
            self.too_large.append(record.number)
        else:
            self._in_flight.append((record, asyncio.ensure_future(acknowledgement)))

    async def _is_acknowledged(
        self, record: _Record, acknowledgement: asyncio.Future[object], refusals: _Errors
    ) -> bool:
        """Wait for a record in flight; False when it is refused with one of `refusals`."""
        try:
            async with self._deadline(record, refusals):
                await acknowledgement
        except refusals:
            return False
        self.acknowledged += 1
        return True

    @asynccontextmanager
    async def _deadline(self, record: _Record, refusals: _Errors) -> AsyncIterator[None]:
        """Raise a DependencyError that names the line when Kafka fails, other than by `refusals`, or is late."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except refusals:
            raise
        except (KafkaError, OSError) as error:
            cause: Exception = error
            if isinstance(error, TimeoutError):
                cause = TimeoutError(f"no acknowledgement within {self._timeout_seconds:g} s")
            raise DependencyError(
                f"line {record.number} is not acknowledged by {self._topic}; of the others at least "
                f"{self.acknowledged} are. {unreachable_error(cause)}"
            ) from error


def _record_key(value: bytes) -> bytes | None:
    """The `execution_id` of an event as it is stored; None where it cannot be read."""
    try:
        document = parse_json(value)
        execution_id = document.get("execution_id") if isinstance(document, dict) else None
        return canonical_id(execution_id).encode() if isinstance(execution_id, str) else None
    except (InvalidEvent, UnicodeEncodeError):
        return None
