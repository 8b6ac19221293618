"""Commits that Kafka does not accept: bounded in time, counted, repeated, and never for partitions of others."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.apache_kafka.listener import Listener
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import KafkaServer, create_topics
from tests.support.event_sources import EventSources, open_event_sources, poll_records
from tests.support.local import Topics, fresh_name
from tests.support.proxy import FaultProxy
from tests.support.topic import committed, send
from worker.kafka.event_source import KafkaEventSource
from worker.ports import Partition


@pytest.fixture
async def sources() -> AsyncIterator[EventSources]:
    async with open_event_sources() as sources:
        yield sources


def count_failures(source: KafkaEventSource) -> float:
    return source._telemetry.registry.get_sample_value("metrics_worker_commit_failures_total") or 0.0


def count_assigned(source: KafkaEventSource) -> float:
    return source._telemetry.registry.get_sample_value("metrics_worker_assigned_partitions") or 0.0


async def test_commit_to_a_silent_broker_is_bounded_and_succeeds_later(
    tmp_path: Path, sources: EventSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.kafka.event_source._COMMIT_SECONDS", 0.5)
    listener = Listener("PROXIED")
    async with FaultProxy(listener.port) as proxy:
        listener.advertised_port = proxy.port
        with ApacheKafka(tmp_path, listeners=[listener]) as broker:
            await create_topics(broker.bootstrap_servers, {"events": 1})
            await send(broker.bootstrap_servers, "events", [b"0", b"1"])
            source = await sources.open(
                f"127.0.0.1:{proxy.port}", "events", "group", session_seconds=20.0, rebalance_seconds=10.0
            )
            await poll_records(source, 2)
            proxy.silent = True
            async with asyncio.timeout(10):
                assert not await source.commit({Partition("events", 0): 2})
            assert count_failures(source) == 1
            proxy.silent = False
            async with asyncio.timeout(20):
                while not await source.commit({Partition("events", 0): 2}):
                    await source.poll(1, 1, 0.2)
            assert await committed(broker.bootstrap_servers, "events", "group", 1) == {0: 2}
            await source.close()


async def test_member_of_an_old_generation_commits_nothing(
    broker: KafkaServer, topics: Topics, sources: EventSources
) -> None:
    group = fresh_name("group")
    await send(broker.bootstrap_servers, topics.events, [b"0", b"1", b"2"], partition=0)
    first = await sources.open(
        broker.bootstrap_servers, topics.events, group, session_seconds=6.0, rebalance_seconds=10.0
    )
    await poll_records(first, 3)
    coordinator = first._consumer._coordinator
    coordinator.generation -= 1  # like a member that has missed a rebalance
    assert not await first.commit({Partition(topics.events, 0): 3})
    assert count_failures(first) == 1
    assert await committed(broker.bootstrap_servers, topics.events, group, 1) == {0: 0}
    assert len(await poll_records(first, 3)) == 3, "it joins again and reads them again"
    assert await first.commit({Partition(topics.events, 0): 3})


async def test_spare_member_takes_over_after_a_long_wait(
    broker: KafkaServer, topics: Topics, sources: EventSources
) -> None:
    group, topic = fresh_name("group"), topics.dead_letters  # it has one partition
    owner, spare = [
        await sources.open(broker.bootstrap_servers, topic, group, session_seconds=6.0, rebalance_seconds=10.0)
        for _ in range(2)
    ]

    async def settled() -> bool:
        await asyncio.gather(owner.poll(1, 1, 0.2), spare.poll(1, 1, 0.2))
        return owner.is_group_member and spare.is_group_member and count_assigned(owner) + count_assigned(spare) == 1

    async with asyncio.timeout(30):
        while not await settled():
            pass
    if count_assigned(spare):
        owner, spare = spare, owner
    spare._consumer._coordinator._max_poll_interval = 1.0  # seconds; 300 by default
    for _ in range(10):
        await asyncio.gather(owner.poll(1, 1, 0.3), spare.poll(1, 1, 0.3))
    await owner.close()
    await send(broker.bootstrap_servers, topic, [b"0"])
    assert [record.value for record in await poll_records(spare, 1)] == [b"0"]
