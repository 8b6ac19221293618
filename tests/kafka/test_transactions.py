"""Events of transactional producers: rows once they are committed, never when they are aborted."""

from collections.abc import Sequence

import pytest
from confluent_kafka import Producer

from tests.integration.conftest import StartWorker
from tests.kafka.loaded import Loaded, events
from tests.support.local import fresh_name, wait_until
from tests.support.topic import size

_SECONDS = 30


@pytest.fixture
def producer(loaded: Loaded) -> Producer:
    """In no transaction yet."""
    producer = Producer({"bootstrap.servers": loaded.servers, "transactional.id": fresh_name("producer")})
    producer.init_transactions(_SECONDS)
    return producer


def put(producer: Producer, topic: str, values: Sequence[bytes]) -> None:
    """All onto one partition, and acknowledged, so that what stands there is known."""
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(_SECONDS) == 0


async def test_aborted_events_never_become_rows(start_worker: StartWorker, loaded: Loaded, producer: Producer) -> None:
    for round_number in range(5):
        producer.begin_transaction()
        put(producer, loaded.topic, events(100))
        producer.abort_transaction(_SECONDS)
        producer.begin_transaction()
        put(producer, loaded.topic, [*events(50), *([b"garbage"] if round_number == 0 else [])])
        producer.commit_transaction(_SECONDS)
    loaded.put = 5 * 50
    first = start_worker(BATCH_MAX_EVENTS="30")
    loaded.wait_for_all()
    # 5 x (100 + marker + 50 + marker) + 1: the marker of the last commit is nothing that is handed out.
    end = 5 * 152 + 1
    wait_until(lambda: first.telemetry()["metrics_worker_events_total"][()] == loaded.put, "all are counted")
    first.stop()
    assert (await loaded.offsets())[0] == end - 1

    start_worker()
    await loaded.more(20, partition=0)
    loaded.wait_for_all()
    assert loaded.table() == loaded.view() == 2 * loaded.put, "the markers moved no offset"
    assert await size(loaded.servers, loaded.dlq_topic) == 1


async def test_events_wait_for_the_end_of_a_transaction_and_of_those_before_them(
    start_worker: StartWorker, loaded: Loaded, producer: Producer
) -> None:
    start_worker()
    producer.begin_transaction()
    put(producer, loaded.topic, events(40))
    await loaded.more(10, partition=0)  # behind the open transaction
    other = 10
    await loaded.more(other, partition=1)  # not behind it
    wait_until(lambda: loaded.view() == 2 * other, "the other partition goes on")
    producer.commit_transaction(_SECONDS)
    loaded.put += 40
    loaded.wait_for_all()
    await loaded.assert_each_once()
