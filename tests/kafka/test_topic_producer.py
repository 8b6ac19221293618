"""A producer goes on after everything that breaks aiokafka's: each record is stored once, or its failure is known."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka.errors import KafkaError, LeaderNotAvailableError, MessageSizeTooLargeError

from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from tests.support.local import Topics, fresh_name
from tests.support.topic import limit_batches, read, size
from worker.kafka import size_limit
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_producer import BATCH_REFUSED, TopicProducer, open_producer

LIMIT = 20_000


@pytest.fixture
async def producer(broker: ApacheKafka, topics: Topics) -> AsyncIterator[TopicProducer]:
    """An idempotent producer that has sent one record to the only partition of its topic."""
    target = KafkaTarget(broker.bootstrap_servers)
    async with open_producer(target, topics.dead_letters, idempotent=True) as producer:
        await (await producer.send(b"first", None))
        yield producer


async def assert_stored_once(broker: ApacheKafka, topic: str, *values: bytes) -> None:
    stored = await read(broker.bootstrap_servers, topic, len(values))
    assert Counter(record.value for record in stored) == Counter(values)
    assert await size(broker.bootstrap_servers, topic) == len(values)


async def test_refused_record_does_not_stop_those_behind_it(
    producer: TopicProducer, broker: ApacheKafka, topics: Topics
) -> None:
    """Those that are queued behind it fail, and are not stored; the next ones are acknowledged."""
    await limit_batches(broker.bootstrap_servers, topics.dead_letters, LIMIT)
    large = await producer.send(b"x" * 2 * LIMIT, None)
    values = [b"%d" % number * 15_000 for number in range(8)]
    outcomes = await asyncio.gather(
        large, *[await producer.send(value, None) for value in values], return_exceptions=True
    )
    assert isinstance(outcomes[0], MessageSizeTooLargeError)
    refused = [value for value, outcome in zip(values, outcomes[1:], strict=True) if isinstance(outcome, BATCH_REFUSED)]
    assert refused
    await asyncio.gather(*[await producer.send(value, None) for value in refused])
    await assert_stored_once(broker, topics.dead_letters, b"first", *values)


async def test_limit_is_read_again_after_a_while(
    broker: ApacheKafka, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    await limit_batches(broker.bootstrap_servers, topics.dead_letters, LIMIT)
    target = KafkaTarget(broker.bootstrap_servers)
    async with open_producer(target, topics.dead_letters, idempotent=True) as producer:
        await limit_batches(broker.bootstrap_servers, topics.dead_letters, 3 * LIMIT)
        with pytest.raises(MessageSizeTooLargeError, match=f"allows {LIMIT}"):
            await producer.send(b"x" * 2 * LIMIT, None)
        monkeypatch.setattr(size_limit, "_VALID_SECONDS", 0.0)
        await (await producer.send(b"x" * 2 * LIMIT, None))
        with pytest.raises(MessageSizeTooLargeError, match=f"allows {3 * LIMIT}"):
            await producer.send(b"x" * 3 * LIMIT, None)
    await assert_stored_once(broker, topics.dead_letters, b"x" * 2 * LIMIT)


async def test_other_partitions_keep_what_was_queued_for_them(broker: ApacheKafka) -> None:
    """Records in the queue of the replaced producer are delivered by it, once."""
    topic = fresh_name("dlq")
    await create_topics(broker.bootstrap_servers, {topic: 4})
    async with open_producer(KafkaTarget(broker.bootstrap_servers), topic, idempotent=True) as producer:
        await limit_batches(broker.bootstrap_servers, topic, LIMIT)
        keys = [b"%d" % number for number in range(200)]
        futures = [
            await producer.send(b"z" * 2 * LIMIT if number == 50 else key, key) for number, key in enumerate(keys)
        ]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        failed = [key for key, outcome in zip(keys, outcomes, strict=True) if isinstance(outcome, BATCH_REFUSED)]
        assert 0 < len(failed) < len(keys)
        await asyncio.gather(*[await producer.send(key, key) for key in failed])
    await assert_stored_once(broker, topic, *keys)


async def test_expired_record_of_a_partition_without_leader_does_not_stop_those_behind_it(
    producer: TopicProducer, broker: ApacheKafka, topics: Topics
) -> None:
    """One node has no leaderless partition: only its metadata says so here."""
    aiokafkas = producer._producer
    assert aiokafkas is not None
    aiokafkas._message_accumulator._batch_ttl = 0.1
    cluster = aiokafkas.client.cluster
    leader_of = cluster.leader_for_partition
    cluster.leader_for_partition = lambda _: -1
    expired = await producer.send(b"expired", None)
    with pytest.raises(LeaderNotAvailableError):
        await expired
    cluster.leader_for_partition = leader_of
    await asyncio.gather(*[await producer.send(b"%d" % number, None) for number in range(3)])
    await assert_stored_once(broker, topics.dead_letters, b"first", b"0", b"1", b"2")


def cancel_sender(producer: TopicProducer) -> None:
    """aiokafka's task ends without an error."""
    aiokafkas = producer._producer
    assert aiokafkas is not None
    aiokafkas._sender.sender_task.cancel()


def break_sender(producer: TopicProducer) -> None:
    """aiokafka's task ends with an error."""
    aiokafkas = producer._producer
    assert aiokafkas is not None

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug in aiokafka")

    aiokafkas._message_accumulator.drain_by_nodes = fail


@pytest.mark.parametrize("end", [cancel_sender, break_sender])
async def test_records_of_a_dead_sender_fail_at_once_and_the_next_ones_are_acknowledged(
    producer: TopicProducer, broker: ApacheKafka, topics: Topics, end: Callable[[TopicProducer], None]
) -> None:
    end(producer)
    lost = await producer.send(b"lost", None)
    async with asyncio.timeout(5):
        with pytest.raises(KafkaError):
            await lost
        assert await producer.find_leaderless_partitions() == []
        await (await producer.send(b"second", None))
    await assert_stored_once(broker, topics.dead_letters, b"first", b"second")
