"""Writing dead letters: one suite for Kafka and for the fake in memory that other tests use."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.local.broker import KafkaServer, create_topics
from tests.support.events import Record, event, read
from tests.support.fakes import MemoryDeadLetters
from tests.support.local import Topics
from tests.support.topic import headers_of, size
from tests.support.topic import read as read_topic
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure
from worker.dead_letters.dead_letter import WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_producer import open_producer
from worker.ports import ACKNOWLEDGED, DeadLetterOutcome, DeadLetterSink

WORKER = WorkerInfo(version="1.2.3", table="default.execution_metrics")
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
INVALID = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "it is not JSON")


def metric(name: str = "cost_usd") -> FailedMetric:
    return FailedMetric(read(event()), name, 0.5, REFUSED, attempts=2)


def unreadable(value: bytes = b"\xff\x00garbage", key: bytes | None = b"k") -> FailedEvent:
    return FailedEvent(Record(value, offset=7, key=key, headers=(("trace", b"\xfe"), ("empty", None))), INVALID)


@asynccontextmanager
async def open_sink(
    broker: KafkaServer, topic: str, timeout_seconds: float = 10.0
) -> AsyncIterator[KafkaDeadLetterSink]:
    target = KafkaTarget(broker.bootstrap_servers)
    async with open_producer(target, topic, idempotent=broker.idempotence) as producer:
        yield KafkaDeadLetterSink(producer, WORKER, timeout_seconds)


@pytest.fixture
async def topic(broker: KafkaServer, topics: Topics) -> AsyncIterator[KafkaDeadLetterSink]:
    async with open_sink(broker, topics.dead_letters) as sink:
        yield sink


# Both sinks


@pytest.fixture(params=["memory", "kafka"])
def sink(request: pytest.FixtureRequest, topic: KafkaDeadLetterSink) -> DeadLetterSink:
    return MemoryDeadLetters() if request.param == "memory" else topic


async def count(sink: DeadLetterSink, broker: KafkaServer, topics: Topics) -> int:
    if isinstance(sink, MemoryDeadLetters):
        return len(sink.letters)
    return await size(broker.bootstrap_servers, topics.dead_letters)


@pytest.mark.parametrize("number", [0, 1, 1_000])
async def test_writes_one_dead_letter_each(
    sink: DeadLetterSink, broker: KafkaServer, topics: Topics, number: int
) -> None:
    assert await sink.write([metric(f"m{number}") for number in range(number)]) == [ACKNOWLEDGED] * number
    assert await count(sink, broker, topics) == number


async def test_writes_again_what_is_written_again(sink: DeadLetterSink, broker: KafkaServer, topics: Topics) -> None:
    for _ in range(2):
        await sink.write([metric(), unreadable()])
    assert await count(sink, broker, topics) == 4


# Only Kafka


async def test_record_on_the_topic_is_the_encoded_dead_letter(
    topic: KafkaDeadLetterSink, broker: KafkaServer, topics: Topics
) -> None:
    failed: list[Failed] = [unreadable(), *(metric()._replace(value=value) for value in (5e-324, True))]
    await topic.write(failed)
    for item, found in zip(failed, await read_topic(broker.bootstrap_servers, topics.dead_letters, 3), strict=True):
        encoded = encode_dead_letter(item, WORKER, found.timestamp)
        assert (found.key, found.value, found.headers) == (encoded.key, encoded.value, tuple(encoded.headers))


async def test_too_large_dead_letter_becomes_a_pointer_and_its_neighbours_do_not(
    topic: KafkaDeadLetterSink, broker: KafkaServer, topics: Topics
) -> None:
    large = unreadable(b"x" * 2_000_000, key=b"k" * 5_000)
    outcomes = await topic.write([metric(), large, metric()])
    assert [outcome.is_pointer for outcome in outcomes] == [False, True, False]
    assert all(outcome.problem is None for outcome in outcomes)
    found = await read_topic(broker.bootstrap_servers, topics.dead_letters, 3)
    by_class = {headers_of(record)["dlq.error.class"]: record for record in found}
    assert set(by_class) == {"row_refused", "too_large"}
    pointer = by_class["too_large"]
    expected = encode_pointer(large, WORKER, pointer.timestamp)
    assert (pointer.key, pointer.value, pointer.headers) == (None, expected.value, tuple(expected.headers))


async def test_outcome_of_each_unacknowledged_dead_letter_has_the_problem(
    new_broker: Callable[[Path], KafkaServer], tmp_path: Path
) -> None:
    with new_broker(tmp_path) as broker:
        await create_topics(broker.bootstrap_servers, {"dlq": 1})
        async with open_sink(broker, "dlq", timeout_seconds=1.0) as sink:
            await sink.write([metric()])
            broker.process.pause()
            outcomes = await sink.write([metric(), metric()])
            broker.process.resume()
    assert outcomes == [DeadLetterOutcome("dlq: TimeoutError: not acknowledged")] * 2


async def test_dead_letter_in_flight_is_not_sent_again(
    new_broker: Callable[[Path], KafkaServer], tmp_path: Path
) -> None:
    failed: list[Failed] = [metric("a"), metric("b"), unreadable()]
    with new_broker(tmp_path) as broker:
        await create_topics(broker.bootstrap_servers, {"dlq": 1})
        async with open_sink(broker, "dlq", timeout_seconds=1.0) as sink:
            await sink.write(failed)
            broker.process.pause()
            for _ in range(3):
                assert all(outcome.problem for outcome in await sink.write(failed))
            broker.process.resume()
            await sink.write(failed)
            assert await size(broker.bootstrap_servers, "dlq") == 2 * len(failed)
            await sink.write(failed)
            assert await size(broker.bootstrap_servers, "dlq") == 3 * len(failed)
