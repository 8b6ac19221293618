"""Put events onto the topic: each line of a file as the value of a record, byte for byte."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from typing import Protocol

import orjson
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.commands.line_stream import stream_lines
from worker.core.errors import DependencyError
from worker.kafka.connection import unreachable

_IN_FLIGHT = 1_000
"""Records that may wait for acknowledgement at once."""
ACKNOWLEDGE_SECONDS = 30.0


class Producer(Protocol):
    """What of aiokafka's producer is needed; a started one, with acks=all."""

    async def send(self, topic: str, value: bytes, key: bytes | None) -> Awaitable[object]:
        """Hand over a record; what is returned is done when the record is acknowledged."""


@dataclass(frozen=True)
class ProduceResult:
    """What became of the lines.

    Attributes:
        sent: how many are acknowledged.
        too_large: numbers, from 1, of the lines that are larger than the topic allows.
    """

    sent: int
    too_large: tuple[int, ...] = ()


async def produce_lines(
    file: BufferedIOBase, producer: Producer, topic: str, timeout_seconds: float = ACKNOWLEDGE_SECONDS
) -> ProduceResult:
    """Put each line of `file` onto `topic`, verbatim; blank lines are ignored.

    The key is the event's `execution_id`, so that what concerns one execution stays in order; a line in which none can
    be read has no key. Nothing is validated: that is the worker's part. Lines that come slowly are sent as they come.

    Args:
        file: opened for bytes; a pipe or a terminal as well.
        producer: see `Producer`.
        topic: where the records go.
        timeout_seconds: longest wait for the acknowledgement of one record.

    Raises:
        DependencyError: Kafka does not acknowledge. To put the whole file again is harmless.
    """
    flight = _Flight(producer, topic, timeout_seconds)
    try:
        number = 0
        async for line in stream_lines(file):
            number += 1
            if line.strip():
                await flight.add(_Line(number, line))
        await flight.land()
    finally:
        flight.abandon()
    return ProduceResult(flight.acknowledged, tuple(sorted(flight.too_large)))


async def produce_event(
    event: dict[str, object], producer: Producer, topic: str, timeout_seconds: float = ACKNOWLEDGE_SECONDS
) -> None:
    """Put one event onto `topic`.

    Raises:
        DependencyError: Kafka does not acknowledge.
    """
    produced = await produce_lines(BytesIO(orjson.dumps(event)), producer, topic, timeout_seconds)
    if not produced.sent:
        raise DependencyError(f"{topic} takes no records as large as the event")


@dataclass(frozen=True)
class _Line:
    number: int
    value: bytes

    @property
    def key(self) -> bytes | None:
        try:
            document = _parse(self.value)
            execution_id = document["execution_id"] if isinstance(document, dict) else None
            return execution_id.encode() if isinstance(execution_id, str) else None
        except (KeyError, ValueError, RecursionError):
            return None


class _Flight:
    """Records on their way to one topic; when they are too many, all must land before the next one starts."""

    def __init__(self, producer: Producer, topic: str, timeout_seconds: float) -> None:
        self._producer = producer
        self._topic = topic
        self._timeout_seconds = timeout_seconds
        self._under_way: deque[tuple[_Line, asyncio.Future[object]]] = deque()
        self.acknowledged = 0
        self.too_large: list[int] = []

    async def add(self, line: _Line) -> None:
        """Send `line`."""
        if len(self._under_way) >= _IN_FLIGHT:
            await self.land()
        await self._send(line)

    async def land(self) -> None:
        """Wait until each record is acknowledged or known to be too large."""
        refused = []
        while self._under_way:
            line = self._under_way[0][0]
            if not await self._first_lands():
                refused.append(line)
        # A broker refuses whole batches: each line of a refused one goes again, with nothing else under way.
        for line in refused:
            await self._send(line)
            if self._under_way and not await self._first_lands():
                self.too_large.append(line.number)

    def abandon(self) -> None:
        """Wait no longer for what is under way; some of it may arrive yet."""
        for _, landing in self._under_way:
            if not landing.cancel() and not landing.cancelled():
                landing.exception()  # looked at, so that nobody complains of a failure that is reported already
        self._under_way.clear()

    async def _send(self, line: _Line) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                landing = await self._producer.send(self._topic, line.value, line.key)
        except MessageSizeTooLargeError:
            self.too_large.append(line.number)
        except (KafkaError, OSError) as error:
            raise self._stopped(line, error) from error
        else:
            self._under_way.append((line, asyncio.ensure_future(landing)))

    async def _first_lands(self) -> bool:
        """Wait for the oldest record under way; False when its batch was too large."""
        line, landing = self._under_way.popleft()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await landing
        except MessageSizeTooLargeError:
            return False
        except (KafkaError, OSError) as error:
            raise self._stopped(line, error) from error
        self.acknowledged += 1
        return True

    def _stopped(self, line: _Line, error: Exception) -> DependencyError:
        if isinstance(error, TimeoutError):
            error = TimeoutError(f"no acknowledgement within {self._timeout_seconds:g} s")
        return DependencyError(
            f"line {line.number} is not acknowledged by {self._topic}; of the others at least {self.acknowledged} are. "
            f"{unreachable(error)}"
        )


def _parse(value: bytes) -> object:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return json.loads(value)  # takes the NaN of Python producers
