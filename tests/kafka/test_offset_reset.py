"""Records that are deleted before they are read, and a log that is shorter than what was read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from deploy.local.broker import KafkaServer, create_topics
from tests.integration.conftest import StartWorker
from tests.kafka.workload import METRICS, Workload
from tests.support.commands import Commands
from tests.support.event_sources import CommitResets, EventSources, open_event_sources, poll_records, wait_until_member
from tests.support.local import Topics, fresh_name, wait_until
from tests.support.topic import commit, committed, delete_records, send
from worker.kafka.event_source import KafkaEventSource
from worker.ports import Partition

NUMBERS = [b"%d" % number for number in range(100)]


@pytest.fixture
async def sources() -> AsyncIterator[EventSources]:
    async with open_event_sources() as sources:
        yield sources


def count_expired(source: KafkaEventSource, partition: int) -> float | None:
    labels = {"topic": source.topic, "partition": str(partition)}
    return source._telemetry.registry.get_sample_value("metrics_worker_records_expired_total", labels)


def warnings(logs: list[Any]) -> list[dict[str, Any]]:
    return [line for line in logs if line["log_level"] == "warning"]


async def test_records_deleted_while_paused_are_logged_and_counted(
    broker: KafkaServer, topics: Topics, sources: EventSources
) -> None:
    servers, topic = broker.bootstrap_servers, topics.events
    await send(servers, topic, NUMBERS[:10], partition=1)
    source = await sources.open(servers, topic, fresh_name("group"))
    await poll_records(source, 10)
    await source.commit({Partition(topic, 1): 10})
    await source.pause()
    await asyncio.sleep(1)  # the fetch under way ends
    await send(servers, topic, NUMBERS[10:], partition=1)
    await delete_records(servers, topic, {1: 40})
    source.resume()
    with capture_logs() as logs:
        records = await poll_records(source, 60)
    assert [record.offset for record in records] == list(range(40, 100))
    assert count_expired(source, 1) == 30
    assert count_expired(source, 0) == 0, "the counter starts at 0"
    (line,) = warnings(logs)
    assert (line["topic"], line["partition"]) == (topic, 1)
    assert (line["from_offset"], line["to_offset"], line["records"]) == (10, 40, 30)


async def test_expired_records_are_counted_once_though_nothing_follows(
    broker: KafkaServer, topics: Topics, sources: EventSources
) -> None:
    servers, topic, group = broker.bootstrap_servers, topics.events, fresh_name("group")
    await send(servers, topic, NUMBERS, partition=1)
    await commit(servers, topic, group, {1: 25})
    await delete_records(servers, topic, {1: 100})
    first = await sources.open(servers, topic, group)
    async with asyncio.timeout(20):
        while not count_expired(first, 1):
            await first.poll(1, 1, 0.2)
    assert count_expired(first, 1) == 75
    await first.close()
    assert (await committed(servers, topic, group, 2))[1] == 100
    second = await sources.open(servers, topic, group)
    await wait_until_member(second)
    await send(servers, topic, [b"new"], partition=1)
    assert [record.offset for record in await poll_records(second, 1)] == [100]
    assert count_expired(second, 1) == 0


async def test_new_group_and_gaps_of_transactions_count_nothing(
    broker: KafkaServer, topics: Topics, sources: EventSources
) -> None:
    servers, topic = broker.bootstrap_servers, topics.events
    await send(servers, topic, NUMBERS[:50], partition=1)
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=fresh_name("producer"))
    async with producer:
        for _ in range(2):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"aborted", partition=1)
            await producer.abort_transaction()
    await send(servers, topic, NUMBERS[:10], partition=1)
    await delete_records(servers, topic, {1: 30})
    source = await sources.open(servers, topic, fresh_name("group"))
    with capture_logs() as logs:
        records = await poll_records(source, 30)
    assert [record.offset for record in records] == [*range(30, 50), *range(54, 64)]
    assert count_expired(source, 1) == 0
    assert warnings(logs) == []


async def test_new_group_is_moved_to_the_start_of_many_partitions_at_once(
    broker: KafkaServer, sources: EventSources
) -> None:
    topic = fresh_name("wide")
    await create_topics(broker.bootstrap_servers, {topic: 50})
    source = await sources.open(broker.bootstrap_servers, topic, fresh_name("group"))
    await wait_until_member(source)
    assert isinstance(source._listener, CommitResets)
    async with asyncio.timeout(20):
        while sum(map(len, source._listener.resets)) < 50:
            await source.poll(1, 1, 0.2)
    # One, if aiokafka has found them all meanwhile; one by one the requests would take half a second for each.
    assert len(source._listener.resets) <= 10


async def test_position_beyond_the_end_reads_the_whole_log_again(
    broker: KafkaServer, topics: Topics, sources: EventSources
) -> None:
    servers, topic, group = broker.bootstrap_servers, topics.events, fresh_name("group")
    await send(servers, topic, NUMBERS, partition=1)
    await commit(servers, topic, group, {1: 150})
    source = await sources.open(servers, topic, group)
    with capture_logs() as logs:
        records = await poll_records(source, 100)
    assert [record.offset for record in records] == list(range(100))
    (line,) = warnings(logs)
    assert (line["partition"], line["from_offset"], line["to_offset"], line["end_offset"]) == (1, 150, 0, 100)
    assert count_expired(source, 1) == 0
    assert (await committed(servers, topic, group, 2))[1] == 0, "the listener was called with the start"
    assert await source.commit({Partition(topic, 1): 100})
    assert (await committed(servers, topic, group, 2))[1] == 100


async def test_worker_reports_expired_records_and_the_audit_counts_them(
    environment: dict[str, str], workload: Workload, start_worker: StartWorker
) -> None:
    worker = start_worker()
    await workload.send(50, partition=1)
    workload.wait_until_written()
    worker.stop()
    await workload.send(100, partition=1)
    await delete_records(workload.servers, workload.topic, {1: 120})
    *_, last = Commands(environment).json("audit")
    assert (last["sums"]["expired"], last["sums"]["missing"]) == (70, 0)
    worker = start_worker()
    wait_until(lambda: workload.count_view() == 80 * METRICS, "what is left is written", 30)
    expired = worker.telemetry()["metrics_worker_records_expired_total"]
    assert sum(expired.values()) == 70
    assert '"records expired before they were read"' in worker.process.output()
    worker.stop()
    *_, last = Commands(environment).json("audit", "--partition", "1", "--from-offset", "50")
    assert (last["sums"]["expired"], last["sums"]["gone"], last["sums"]["records"]) == (70, 0, 30)
