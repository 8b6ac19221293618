"""Events of transactional producers become rows when they are committed, and never if they are aborted."""

from collections.abc import Sequence

import pytest
from confluent_kafka import Producer

from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload, events
from tests.support.local import fresh_name, wait_until
from tests.support.topic import size

_SECONDS = 30


@pytest.fixture
def producer(workload: Workload) -> Producer:
    """A transactional producer without an open transaction."""
    producer = Producer({"bootstrap.servers": workload.servers, "transactional.id": fresh_name("producer")})
    producer.init_transactions(_SECONDS)
    return producer


def produce(producer: Producer, topic: str, values: Sequence[bytes]) -> None:
    """Produce to one partition, and wait for the acknowledgements, so that the offsets are known."""
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(_SECONDS) == 0


async def test_aborted_events_never_become_rows(
    start_worker: StartWorker, workload: Workload, producer: Producer
) -> None:
    for round_number in range(5):
        producer.begin_transaction()
        produce(producer, workload.topic, events(100))
        producer.abort_transaction(_SECONDS)
        producer.begin_transaction()
        produce(producer, workload.topic, [*events(50), *([b"garbage"] if round_number == 0 else [])])
        producer.commit_transaction(_SECONDS)
    workload.sent = 5 * 50
    first = start_worker(BATCH_MAX_EVENTS="30")
    workload.wait_until_written()
    # 5 x (100 + marker + 50 + marker) + 1: the marker of the last commit is not returned by a poll.
    end = 5 * 152 + 1
    wait_until(lambda: first.telemetry()["metrics_worker_events_total"][()] == workload.sent, "all are counted")
    first.stop()
    assert (await workload.committed_offsets())[0] == end - 1

    start_worker()
    await workload.send(20, partition=0)
    workload.wait_until_written()
    assert workload.count_table() == workload.count_view() == 2 * workload.sent, (
        "the markers do not change the committed offset"
    )
    assert await size(workload.servers, workload.dlq_topic) == 1


async def test_events_wait_for_the_end_of_open_transactions(
    start_worker: StartWorker, workload: Workload, producer: Producer
) -> None:
    start_worker()
    producer.begin_transaction()
    produce(producer, workload.topic, events(40))
    await workload.send(10, partition=0)  # behind the open transaction
    other = 10
    await workload.send(other, partition=1)  # not behind it
    wait_until(lambda: workload.count_view() == 2 * other, "the other partition is read")
    producer.commit_transaction(_SECONDS)
    workload.sent += 40
    workload.wait_until_written()
    await workload.assert_each_once()
