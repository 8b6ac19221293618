"""Lines become records byte for byte, as they arrive; a failure of Kafka names the line."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, RequestTimedOutError
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.produce import ProduceResult, produce_event, produce_lines
from worker.core.errors import DependencyError
from worker.kafka.line_sender import Line, LineSender

if TYPE_CHECKING:
    from collections.abc import Awaitable

ID = "0b2d3c4e-5f60-4718-8293-a4b5c6d7e8f9"
EVENT = b'{"execution_id": "%b", "agent_name": "a", "metrics": {}}' % ID.encode()


class Sent(NamedTuple):
    value: bytes
    key: bytes | None
    timestamp: int = 0


class MemoryProducer:
    """A producer whose broker is a list; it acknowledges records on the next turn of the event loop.

    Args:
        max_bytes: the client refuses larger records.
        max_batch_bytes: the broker refuses all records that are not yet acknowledged if they are larger together.
        fails_at: this record, from 0, and all later ones fail with `error`; without `error` they are not acknowledged.
        error: see `fails_at`.
        in_send: whether `send` raises the error, not the acknowledgement.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 2**20,
        max_batch_bytes: int = 2**40,
        fails_at: float = float("inf"),
        error: Exception | None = None,
        in_send: bool = False,
    ) -> None:
        self.sent: list[Sent] = []
        self.max_in_flight = 0
        self._max_bytes = max_bytes
        self._max_batch_bytes = max_batch_bytes
        self._fails_at = fails_at
        self._error = error
        self._in_send = in_send
        self._calls = 0
        self._batch: list[tuple[Sent, asyncio.Future[None]]] = []

    async def send(self, value: bytes, key: bytes | None, *, timestamp: int) -> Awaitable[object]:
        if len(value) > self._max_bytes:
            raise MessageSizeTooLargeError("too large for the client")
        failing = self._calls >= self._fails_at
        self._calls += 1
        if failing and self._error and self._in_send:
            raise self._error
        loop = asyncio.get_running_loop()
        acknowledgement: asyncio.Future[None] = loop.create_future()
        if failing:
            if self._error:
                acknowledgement.set_exception(self._error)
            return acknowledgement
        self._batch.append((Sent(value, key, timestamp), acknowledgement))
        self.max_in_flight = max(self.max_in_flight, len(self._batch))
        loop.call_soon(self._deliver)
        return acknowledgement

    async def send_alone(self, value: bytes, key: bytes | None, *, timestamp: int) -> Awaitable[object]:
        acknowledgement = await self.send(value, key, timestamp=timestamp)
        self._deliver()
        return acknowledgement

    def _deliver(self) -> None:
        batch, self._batch = self._batch, []
        refused = sum(len(sent.value) for sent, _ in batch) > self._max_batch_bytes
        for sent, acknowledgement in batch:
            if refused:
                acknowledgement.set_exception(MessageSizeTooLargeError("too large for the broker"))
            else:
                self.sent.append(sent)
                if not acknowledgement.cancelled():
                    acknowledgement.set_result(None)

    @property
    def values(self) -> list[bytes]:
        return [sent.value for sent in self.sent]

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.sent) < count:  # noqa: ASYNC110 - the broker is a list
                await asyncio.sleep(0.001)


# Lines

MEBIBYTE = 2**20


class LongLines(BytesIO):
    """Lines of `sizes` bytes, of which only the current chunk exists."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self._sizes = list(sizes)

    def read1(self, size: int | None = -1, /) -> bytes:
        if not self._sizes:
            return b""
        count = min(size or 0, self._sizes[0])
        if count == 0:
            self._sizes.pop(0)
            return b"\n"
        self._sizes[0] -= count
        return b"x" * count


async def peak_memory(lines: LongLines, producer: MemoryProducer) -> tuple[ProduceResult, int]:
    tracemalloc.start()
    try:
        result = await produce_lines(lines, producer, "events")
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_line_of_any_length_takes_bounded_memory_and_is_reported_as_too_large() -> None:
    producer = MemoryProducer()
    result, peak = await peak_memory(LongLines(2, 48 * MEBIBYTE, 3, 2 * MEBIBYTE), producer)
    assert producer.values == [b"xx", b"xxx"]
    assert result == ProduceResult(sent=2, too_large=(2, 4))
    assert peak < 8 * MEBIBYTE


async def test_large_lines_in_flight_take_bounded_memory() -> None:
    class ForgetfulProducer(MemoryProducer):
        async def send(self, value: bytes, key: bytes | None, *, timestamp: int) -> Awaitable[object]:
            acknowledgement = await super().send(value, key, timestamp=timestamp)
            self._batch[-1] = (Sent(b"", None), self._batch[-1][1])
            return acknowledgement

    result, peak = await peak_memory(LongLines(*[MEBIBYTE // 2] * 200), ForgetfulProducer())
    assert result == ProduceResult(sent=200)
    assert peak < 40 * MEBIBYTE


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"", b" ", b"\xff not JSON \r", b"x" * 200_000]))))
def test_each_line_is_sent_byte_for_byte_and_blank_lines_are_not(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    """Also lines that are longer than a chunk of the file."""
    producer = MemoryProducer()
    content = b"\n".join(lines)
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(content)
    with path.open("rb") as file:
        result = asyncio.run(produce_lines(file, producer, "events"))
    assert producer.values == [line for line in content.split(b"\n") if line.strip()]
    assert result == ProduceResult(sent=len(producer.sent))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (EVENT, ID.encode()),
        (EVENT.replace(b"{}", b'{"x": NaN}'), ID.encode()),
        (EVENT.replace(ID.encode(), ID.upper().encode()), ID.encode()),
        (EVENT.replace(ID.encode(), ID.replace("-", "").encode()), ID.replace("-", "").encode()),
        (b'{"execution_id": "Not a UUID"}', b"Not a UUID"),
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
async def test_key_is_the_execution_id_where_it_can_be_read(line: bytes, key: bytes | None) -> None:
    producer = MemoryProducer()
    await produce_lines(BytesIO(line), producer, "events")
    assert [(sent.value, sent.key) for sent in producer.sent] == [(line, key)]


async def test_records_in_flight_are_bounded() -> None:
    producer = MemoryProducer()
    result = await produce_lines(BytesIO((EVENT + b"\n") * 2_501), producer, "events")
    assert result.sent == 2_501
    assert producer.max_in_flight <= 1_000


async def test_lines_of_a_pipe_are_sent_as_they_arrive() -> None:
    reader, writer = os.pipe()
    producer = MemoryProducer()
    with os.fdopen(reader, "rb") as pipe:
        task = asyncio.create_task(produce_lines(pipe, producer, "events"))
        for written, count in ((b"first\n", 1), (b"sec", 1), (b"ond\nthird\n", 3)):
            os.write(writer, written)
            await producer.wait_for(count)
        os.write(writer, b"fourth")
        os.close(writer)
        assert await task == ProduceResult(sent=4)
    assert producer.values == [b"first", b"second", b"third", b"fourth"]


async def test_waiting_for_input_can_be_cancelled() -> None:
    reader, writer = os.pipe()
    producer = MemoryProducer()
    with os.fdopen(reader, "rb") as pipe, os.fdopen(writer, "wb", buffering=0) as input_end:
        task = asyncio.create_task(produce_lines(pipe, producer, "events"))
        input_end.write(b"first\n")
        await producer.wait_for(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# Too large


@pytest.mark.parametrize("limits", [{"max_bytes": 10}, {"max_batch_bytes": 10}], ids=["client", "broker"])
async def test_only_lines_that_are_too_large_alone_are_not_sent(limits: dict[str, Any]) -> None:
    """The broker refuses a whole batch, whose lines are then sent again one by one."""
    producer = MemoryProducer(**limits)
    result = await produce_lines(BytesIO(b"one\ntwo\n" + b"x" * 11 + b"\n\nfive\n" + b"y" * 11), producer, "events")
    assert result == ProduceResult(sent=3, too_large=(3, 6))
    assert producer.values == [b"one", b"two", b"five"]


# The order of an event and its correction


def event_of(number: int, padding: int = 0) -> bytes:
    return orjson.dumps({"execution_id": ID, "metrics": {"m": number}, "padding": "x" * padding})


async def test_line_that_is_sent_again_keeps_the_time_of_its_first_sending() -> None:
    """So that it does not replace a later line of its execution, whose batch was not refused."""
    producer = MemoryProducer(max_batch_bytes=1_000)
    now = iter(range(1_000_000, 2_000_000))
    sender = LineSender(producer, "events", 30.0, lambda: next(now))
    await sender.send(Line(1, event_of(1)))
    await sender.send(Line(2, b"x" * 1_000))
    await asyncio.sleep(0)  # this batch is refused
    await asyncio.sleep(0)
    await sender.send(Line(3, event_of(2)))
    await sender.flush()
    assert [sent.value for sent in producer.sent] == [event_of(2), event_of(1), b"x" * 1_000]
    correction, first, _ = producer.sent
    assert first.timestamp < correction.timestamp


@pytest.mark.parametrize("clock", [[5.0] * 9_999, [5.0, 4.0, 3.0] * 3_333], ids=["one millisecond", "set back"])
async def test_timestamps_of_an_execution_are_in_the_order_of_its_lines(clock: list[float]) -> None:
    producer = MemoryProducer()
    now = iter(clock)
    sender = LineSender(producer, "events", 30.0, lambda: next(now))
    for number in range(2_500):
        await sender.send(Line(number, event_of(number)))
    await sender.flush()
    timestamps = [sent.timestamp for sent in producer.sent]
    assert timestamps == sorted(set(timestamps))


@pytest.mark.parametrize("line", ['{"execution_id": "%d"}', "no key %d"])
async def test_lines_of_different_executions_have_the_time_of_sending(line: str) -> None:
    """However many there are in a millisecond: a time in the future would beat later corrections."""
    producer = MemoryProducer()
    sender = LineSender(producer, "events", 30.0, lambda: 5.0)
    for number in range(2_500):
        await sender.send(Line(number, (line % number).encode()))
    await sender.flush()
    assert {sent.timestamp for sent in producer.sent} == {5_000}


# Kafka is unavailable


@pytest.mark.parametrize("in_send", [True, False])
@pytest.mark.parametrize("error", [RequestTimedOutError("reason"), KafkaConnectionError("reason")])
async def test_failure_names_the_first_line_that_is_not_acknowledged(error: Exception, in_send: bool) -> None:
    producer = MemoryProducer(fails_at=2, error=error, in_send=in_send)
    with pytest.raises(DependencyError, match=r"line 3 is not acknowledged by events; .* reason"):
        await produce_lines(BytesIO(b"1\n2\n3\n4\n5\n"), producer, "events")


async def test_wait_for_an_acknowledgement_is_bounded() -> None:
    producer = MemoryProducer(fails_at=1)
    with pytest.raises(DependencyError, match=r"line 2 .*; of the others at least 1 are\. .* within 0\.05 s"):
        await produce_lines(BytesIO(b"1\n2\n3\n"), producer, "events", timeout_seconds=0.05)


# One event


async def test_event_is_sent_as_json_with_its_key() -> None:
    event: dict[str, object] = {"execution_id": ID, "agent_name": "ä\nb", "metrics": {"x": 1.5}}
    producer = MemoryProducer()
    await produce_event(event, producer, "events")
    (sent,) = producer.sent
    assert sent.key == ID.encode()
    assert orjson.loads(sent.value) == event


@pytest.mark.parametrize("fault", [{"max_bytes": 5}, {"fails_at": 0, "error": RequestTimedOutError()}])
async def test_event_that_is_not_acknowledged_is_an_error(fault: dict[str, Any]) -> None:
    with pytest.raises(DependencyError):
        await produce_event({"execution_id": ID, "metrics": {}}, MemoryProducer(**fault), "events")
