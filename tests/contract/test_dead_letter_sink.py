"""The behaviour of dead letters: one suite, for the topic and for the one in memory that other tests use instead."""

import json
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import pytest

from deploy.local.broker import KafkaServer, create_topics
from tests.support.events import Record, event, read
from tests.support.fakes import MemoryDeadLetters
from tests.support.local import Topics
from tests.support.topic import headers_of, size
from tests.support.topic import read as read_topic
from worker.core.errors import DeadLetterUnavailable, ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure, Unrepresentable
from worker.dead_letters.dead_letter import WorkerInfo
from worker.kafka.connection import KafkaTarget, open_producer
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.ports import DeadLetterSink

HEAD = WorkerInfo(version="1.2.3", table="default.execution_metrics")
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
INVALID = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "it is not JSON")


def metric(name: str = "cost_usd") -> FailedMetric:
    return FailedMetric(read(event()), name, 0.5, REFUSED, attempts=2)


def unreadable(value: bytes = b"\xff\x00garbage", key: bytes | None = b"k") -> FailedEvent:
    return FailedEvent(Record(value, offset=7, key=key, headers=(("trace", b"\xfe"), ("empty", None))), INVALID)


@pytest.fixture
async def topic(broker: KafkaServer, topics: Topics) -> AsyncIterator[KafkaDeadLetterSink]:
    async with open_producer(KafkaTarget(broker.bootstrap_servers), idempotent=broker.idempotence) as producer:
        yield KafkaDeadLetterSink(producer, topics.dead_letters, HEAD, timeout_seconds=10.0)


class TestEveryDeadLetters:
    @pytest.fixture(params=["memory", "kafka"])
    def subject(self, request: pytest.FixtureRequest, topic: KafkaDeadLetterSink) -> DeadLetterSink:
        return MemoryDeadLetters() if request.param == "memory" else topic

    async def kept(self, subject: DeadLetterSink, broker: KafkaServer, topics: Topics) -> int:
        if isinstance(subject, MemoryDeadLetters):
            return len(subject.letters)
        return await size(broker.bootstrap_servers, topics.dead_letters)

    @pytest.mark.parametrize("count", [0, 1, 1_000])
    async def test_keeps_each(self, subject: DeadLetterSink, broker: KafkaServer, topics: Topics, count: int) -> None:
        await subject.write([metric(f"m{number}") for number in range(count)])
        assert await self.kept(subject, broker, topics) == count

    async def test_keeps_again_what_is_put_again(
        self, subject: DeadLetterSink, broker: KafkaServer, topics: Topics
    ) -> None:
        for _ in range(2):
            await subject.write([metric(), unreadable()])
        assert await self.kept(subject, broker, topics) == 4


class TestTheTopic:
    """What only the real one can show."""

    async def test_an_event_keeps_its_bytes_key_and_headers(
        self, topic: KafkaDeadLetterSink, broker: KafkaServer, topics: Topics
    ) -> None:
        await topic.write([unreadable()])
        (found,) = await read_topic(broker.bootstrap_servers, topics.dead_letters, 1)
        assert (found.key, found.value) == (b"k", b"\xff\x00garbage")
        assert found.headers[:2] == (("trace", b"\xfe"), ("empty", None))
        assert {name: value for name, value in found.headers[2:] if name != "dlq.failed_at"} == {
            "dlq.kind": b"event",
            "dlq.error.class": b"invalid_event",
            "dlq.error.type": b"InvalidJSON",
            "dlq.error.message": b"it is not JSON",
            "dlq.attempts": b"0",
            "dlq.table": b"default.execution_metrics",
            "dlq.source.topic": b"execution-completed",
            "dlq.source.partition": b"0",
            "dlq.source.offset": b"7",
            "dlq.source.timestamp": b"1767225600000",
            "dlq.replays": b"0",
            "dlq.worker": b"1.2.3",
        }

    async def test_a_metric_is_the_row_that_it_would_have_been(
        self, topic: KafkaDeadLetterSink, broker: KafkaServer, topics: Topics
    ) -> None:
        failed: list[Failed] = [
            metric()._replace(value=value) for value in (2**53 + 1, -0.0, 5e-324, True, Unrepresentable("1e400"))
        ]
        await topic.write(failed)
        found = await read_topic(broker.bootstrap_servers, topics.dead_letters, len(failed))
        values = [json.loads(record.value)["metric_value"] for record in found]
        assert values == ["9007199254740993", "-0.0", "5e-324", "true", "1e400"]
        headers = headers_of(found[0])
        assert (headers["dlq.error.code"], headers["dlq.error.type"]) == ("469", "VIOLATED_CONSTRAINT")
        assert (headers["dlq.metric"], headers["dlq.attempts"]) == ("cost_usd", "2")

    async def test_what_is_too_large_becomes_a_pointer_and_its_neighbours_do_not(
        self, topic: KafkaDeadLetterSink, broker: KafkaServer, topics: Topics
    ) -> None:
        large = b"x" * 2_000_000
        assert await topic.write([metric(), unreadable(large, key=b"k" * 5_000), metric()]) == [1]
        found = await read_topic(broker.bootstrap_servers, topics.dead_letters, 3)
        by_class = {headers_of(record)["dlq.error.class"]: record for record in found}
        assert len(found) == 3
        assert set(by_class) == {"row_refused", "too_large"}
        pointer = by_class["too_large"]
        assert pointer.key is None
        assert json.loads(pointer.value) == {
            "source_topic": "execution-completed",
            "source_partition": 0,
            "source_offset": 7,
            "size": len(large),
            "sha256": sha256(large).hexdigest(),
        }
        assert "invalid_event: it is not JSON" in headers_of(pointer)["dlq.error.message"]

    async def test_without_acknowledgement_it_says_what_is_missing(
        self, new_broker: Callable[[Path], KafkaServer], tmp_path: Path
    ) -> None:
        with new_broker(tmp_path) as broker:
            await create_topics(broker.bootstrap_servers, {"dlq": 1})
            async with open_producer(KafkaTarget(broker.bootstrap_servers), idempotent=broker.idempotence) as producer:
                dead_letters = KafkaDeadLetterSink(producer, "dlq", HEAD, timeout_seconds=1.0)
                await dead_letters.write([metric()])
                broker.process.pause()
                with pytest.raises(DeadLetterUnavailable, match="dlq: TimeoutError: not acknowledged") as unavailable:
                    await dead_letters.write([metric(), metric()])
                broker.process.resume()
        assert unavailable.value.unacknowledged == [0, 1]

    async def test_what_is_still_on_its_way_is_not_sent_again(
        self, new_broker: Callable[[Path], KafkaServer], tmp_path: Path
    ) -> None:
        failed: list[Failed] = [metric("a"), metric("b"), unreadable()]
        with new_broker(tmp_path) as broker:
            await create_topics(broker.bootstrap_servers, {"dlq": 1})
            target = KafkaTarget(broker.bootstrap_servers)
            async with open_producer(target, idempotent=broker.idempotence) as producer:
                dead_letters = KafkaDeadLetterSink(producer, "dlq", HEAD, timeout_seconds=1.0)
                await dead_letters.write(failed)
                broker.process.pause()
                for _ in range(3):
                    with pytest.raises(DeadLetterUnavailable):
                        await dead_letters.write(failed)
                broker.process.resume()
                await dead_letters.write(failed)
                assert await size(broker.bootstrap_servers, "dlq") == 2 * len(failed)
                await dead_letters.write(failed)
                assert await size(broker.bootstrap_servers, "dlq") == 3 * len(failed)
