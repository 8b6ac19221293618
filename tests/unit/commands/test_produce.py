"""Lines become records byte for byte, as they come; when Kafka does not acknowledge them that is said."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import orjson
import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, RequestTimedOutError
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.produce import ProduceResult, produce_event, produce_lines
from worker.core.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

ID = "0b2d3c4e-5f60-4718-8293-a4b5c6d7e8f9"
EVENT = b'{"execution_id": "%b", "agent_name": "a", "metrics": {}}' % ID.encode()


@dataclass(frozen=True)
class Sent:
    topic: str
    value: bytes
    key: bytes | None


class MemoryProducer:
    """A producer whose broker is a list: acknowledges each record on the next turns of the event loop.

    Args:
        limit_bytes: the client refuses what is larger.
        batch_limit_bytes: the broker refuses all that is not yet acknowledged when it is larger together.
        fails_at: this record, from 0, and all after it fail with `error`; without one they are never acknowledged.
        error: see `fails_at`.
        at_once: whether the error comes from `send` instead of the acknowledgement.
    """

    def __init__(
        self,
        *,
        limit_bytes: int = 2**20,
        batch_limit_bytes: int = 2**40,
        fails_at: int | None = None,
        error: Exception | None = None,
        at_once: bool = False,
    ) -> None:
        self.sent: list[Sent] = []
        self.most_in_flight = 0
        self._arrived = asyncio.Event()
        self._limit_bytes = limit_bytes
        self._batch_limit_bytes = batch_limit_bytes
        self._fails_at = fails_at
        self._error = error
        self._at_once = at_once
        self._calls = 0
        self._batch: list[tuple[Sent, asyncio.Future[None]]] = []

    async def send(self, topic: str, value: bytes, key: bytes | None) -> Awaitable[object]:
        if len(value) > self._limit_bytes:
            raise MessageSizeTooLargeError("too large for the client")
        failing = self._fails_at is not None and self._calls >= self._fails_at
        self._calls += 1
        if failing and self._error and self._at_once:
            raise self._error
        loop = asyncio.get_running_loop()
        landing: asyncio.Future[None] = loop.create_future()
        if failing:
            if self._error:
                landing.set_exception(self._error)
            return landing
        self._batch.append((Sent(topic, value, key), landing))
        self.most_in_flight = max(self.most_in_flight, len(self._batch))
        loop.call_soon(self._deliver)
        return landing

    def _deliver(self) -> None:
        batch, self._batch = self._batch, []
        refused = sum(len(sent.value) for sent, _ in batch) > self._batch_limit_bytes
        for sent, landing in batch:
            if not refused:
                self.sent.append(sent)
                self._arrived.set()
            if landing.cancelled():
                continue  # nobody waits, but the record is there
            if refused:
                landing.set_exception(MessageSizeTooLargeError("too large for the broker"))
            else:
                landing.set_result(None)

    @property
    def values(self) -> list[bytes]:
        return [sent.value for sent in self.sent]

    async def has(self, count: int) -> None:
        """Wait until `count` records are there."""
        while len(self.sent) < count:
            self._arrived.clear()
            await self._arrived.wait()


# Lines


async def test_each_line_is_a_value_byte_for_byte() -> None:
    producer = MemoryProducer()

    produced = await produce_lines(BytesIO(b'{"a": 1}\n\n  \n\xff\xfe not JSON \r\nlast'), producer, "events")

    assert produced == ProduceResult(sent=3)
    assert producer.values == [b'{"a": 1}', b"\xff\xfe not JSON \r", b"last"]
    assert {sent.topic for sent in producer.sent} == {"events"}


@given(st.lists(st.binary(max_size=40)))
def test_no_byte_is_lost_or_added(pieces: list[bytes]) -> None:
    content = b"\n".join(pieces)
    producer = MemoryProducer()

    asyncio.run(produce_lines(BytesIO(content), producer, "events"))

    assert producer.values == [line for line in content.split(b"\n") if line.strip()]


async def test_a_line_may_be_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    lines = [b"x" * 300_000, b"y", b"z" * 70_000]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join(lines) + b"\n")
    producer = MemoryProducer()

    with path.open("rb") as file:
        await produce_lines(file, producer, "events")

    assert producer.values == lines


async def test_an_empty_file_is_nothing_to_do() -> None:
    assert await produce_lines(BytesIO(b""), MemoryProducer(), "events") == ProduceResult(sent=0)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (EVENT, ID.encode()),
        (EVENT.replace(b"{}", b'{"x": NaN}'), ID.encode()),
        (b'{"execution_id": "not a UUID"}', b"not a UUID"),
        (b'{"execution_id": 7}', None),
        (b'{"execution_id": "\\ud800"}', None),
        (b'{"metrics": {}}', None),
        (b"[1]", None),
        (b"null", None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
async def test_the_key_is_the_execution_id_where_it_can_be_read(line: bytes, key: bytes | None) -> None:
    producer = MemoryProducer()

    await produce_lines(BytesIO(line), producer, "events")

    assert producer.sent == [Sent("events", line, key)]


async def test_only_so_many_records_are_in_flight() -> None:
    producer = MemoryProducer()

    produced = await produce_lines(BytesIO(EVENT + b"\n" + (EVENT + b"\n") * 2_500), producer, "events")

    assert produced.sent == 2_501
    assert producer.most_in_flight <= 1_000


async def test_lines_that_come_slowly_are_sent_as_they_come() -> None:
    reader, writer = os.pipe()
    producer = MemoryProducer()
    with os.fdopen(reader, "rb") as pipe:
        producing = asyncio.create_task(produce_lines(pipe, producer, "events"))
        for count, line in enumerate([b"first\n", b"sec", b"ond\nthird\n"]):
            os.write(writer, line)
            await asyncio.wait_for(producer.has((1, 1, 3)[count]), timeout=10)
        os.write(writer, b"fourth")
        os.close(writer)

        assert await producing == ProduceResult(sent=4)
    assert producer.values == [b"first", b"second", b"third", b"fourth"]


async def test_who_waits_for_input_can_be_interrupted() -> None:
    reader, writer = os.pipe()
    producer = MemoryProducer()
    with os.fdopen(reader, "rb") as pipe, os.fdopen(writer, "wb", buffering=0) as other_end:
        producing = asyncio.create_task(produce_lines(pipe, producer, "events"))
        other_end.write(b"first\n")
        await asyncio.wait_for(producer.has(1), timeout=10)
        producing.cancel()

        with pytest.raises(asyncio.CancelledError):
            await producing


# What is too large


async def test_lines_that_the_client_refuses_are_named() -> None:
    producer = MemoryProducer(limit_bytes=10)

    produced = await produce_lines(BytesIO(b"one\n" + b"x" * 11 + b"\n\nfour\n" + b"y" * 11), producer, "events")

    assert produced == ProduceResult(sent=2, too_large=(2, 5))
    assert producer.values == [b"one", b"four"]


async def test_a_batch_that_the_broker_refuses_is_sent_again_line_by_line() -> None:
    producer = MemoryProducer(batch_limit_bytes=10)

    produced = await produce_lines(BytesIO(b"one\ntwo\n" + b"x" * 11 + b"\nfour\nfive\n"), producer, "events")

    assert produced == ProduceResult(sent=4, too_large=(3,))
    assert producer.values == [b"one", b"two", b"four", b"five"]


# Kafka is away


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_line_that_kafka_does_not_take_is_named(at_once: bool) -> None:
    producer = MemoryProducer(fails_at=2, error=RequestTimedOutError("nobody there"), at_once=at_once)

    with pytest.raises(DependencyError, match=r"line 3 is not acknowledged by events; .* nobody there"):
        await produce_lines(BytesIO(b"1\n2\n3\n4\n5\n"), producer, "events")


async def test_kafka_has_a_limited_time_to_acknowledge() -> None:
    producer = MemoryProducer(fails_at=1)

    with pytest.raises(DependencyError, match=r"line 2 .*; of the others at least 1 are\. .* within 0\.05 s"):
        await produce_lines(BytesIO(b"1\n2\n3\n"), producer, "events", timeout_seconds=0.05)


async def test_a_connection_that_breaks_is_no_bug() -> None:
    producer = MemoryProducer(fails_at=0, error=KafkaConnectionError("refused"), at_once=True)

    with pytest.raises(DependencyError, match="refused"):
        await produce_lines(BytesIO(b"1\n"), producer, "events")


# One event


async def test_an_event_is_emitted_as_json_with_its_key() -> None:
    event: dict[str, object] = {"execution_id": ID, "agent_name": "ä\nb", "metrics": {"x": 1.5}}
    producer = MemoryProducer()

    await produce_event(event, producer, "events")

    (sent,) = producer.sent
    assert sent.key == ID.encode()
    assert orjson.loads(sent.value) == event


@pytest.mark.parametrize(
    "producer_of",
    [lambda: MemoryProducer(limit_bytes=5), lambda: MemoryProducer(fails_at=0, error=RequestTimedOutError())],
    ids=["too large", "away"],
)
async def test_an_event_that_is_not_acknowledged_is_an_error(producer_of: type[MemoryProducer]) -> None:
    with pytest.raises(DependencyError):
        await produce_event({"execution_id": ID, "metrics": {}}, producer_of(), "events")
