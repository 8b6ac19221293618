"""Commits that Kafka does not take: bounded, counted, taken later, and never for what another member owns."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from deploy.local.apache_kafka.listener import Listener
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import KafkaServer, create_topics
from tests.contract.test_event_source import Listener as Told
from tests.contract.test_event_source import take
from tests.support.local import Topics, fresh_name
from tests.support.proxy import FaultProxy
from tests.support.topic import committed, send
from worker.kafka.connection import KafkaTarget
from worker.kafka.event_source import KafkaEventSource
from worker.kafka.membership import GroupPolicy
from worker.observability.telemetry import Telemetry
from worker.ports import Partition

OpenInbox = Callable[..., Awaitable[KafkaEventSource]]


@pytest.fixture
async def inboxes() -> AsyncIterator[OpenInbox]:
    opened: list[KafkaEventSource] = []

    async def open_inbox(servers: str, topic: str, group: str, session_seconds: float = 6.0) -> KafkaEventSource:
        policy = GroupPolicy(group, session_timeout_seconds=session_seconds, rebalance_timeout_seconds=10.0)
        inbox = KafkaEventSource(KafkaTarget(servers), topic, policy, Telemetry())
        opened.append(inbox)
        await inbox.start()
        inbox.subscribe(Told())
        return inbox

    yield open_inbox
    await asyncio.gather(*(inbox.stop() for inbox in opened))


def failures(inbox: KafkaEventSource) -> float:
    return inbox._telemetry.registry.get_sample_value("metrics_worker_commit_failures_total") or 0.0


async def test_a_commit_to_a_silent_broker_is_bounded_and_taken_later(
    tmp_path: Path, inboxes: OpenInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.kafka.event_source._COMMIT_SECONDS", 0.5)
    door = Listener("PROXIED")
    async with FaultProxy(door.port) as proxy:
        door.advertised_port = proxy.port
        with ApacheKafka(tmp_path, listeners=[door]) as broker:
            await create_topics(broker.bootstrap_servers, {"events": 1})
            await send(broker.bootstrap_servers, "events", [b"0", b"1"])
            inbox = await inboxes(f"127.0.0.1:{proxy.port}", "events", "group", session_seconds=20.0)
            await take(inbox, 2)
            proxy.silent = True
            async with asyncio.timeout(10):
                assert not await inbox.commit({Partition("events", 0): 2})
            assert failures(inbox) == 1
            proxy.silent = False
            async with asyncio.timeout(20):
                while not await inbox.commit({Partition("events", 0): 2}):
                    await inbox.poll(1, 0.2)
            assert await committed(broker.bootstrap_servers, "events", "group", 1) == {0: 2}
            await inbox.stop()


async def test_a_member_that_was_given_up_commits_nothing(
    broker: KafkaServer, topics: Topics, inboxes: OpenInbox
) -> None:
    group = fresh_name("group")
    await send(broker.bootstrap_servers, topics.events, [b"0", b"1", b"2"], partition=0)
    first = await inboxes(broker.bootstrap_servers, topics.events, group)
    await take(first, 3)
    coordinator = first._consumer._coordinator
    coordinator.generation -= 1  # as one that has slept through a rebalance
    assert not await first.commit({Partition(topics.events, 0): 3})
    assert failures(first) == 1
    assert await committed(broker.bootstrap_servers, topics.events, group, 1) == {0: None}
    assert len(await take(first, 3)) == 3, "it joins again and gets them again"
    assert await first.commit({Partition(topics.events, 0): 3})


async def test_a_spare_member_that_has_waited_long_takes_over(
    broker: KafkaServer, topics: Topics, inboxes: OpenInbox
) -> None:
    group, topic = fresh_name("group"), topics.dead_letters  # it has one partition
    owner, spare = [await inboxes(broker.bootstrap_servers, topic, group) for _ in range(2)]

    async def settled() -> bool:
        await asyncio.gather(owner.poll(1, 0.2), spare.poll(1, 0.2))
        return (
            owner.is_group_member()
            and spare.is_group_member()
            and len(owner.assignment()) + len(spare.assignment()) == 1
        )

    async with asyncio.timeout(30):
        while not await settled():
            pass
    if spare.assignment():
        owner, spare = spare, owner
    spare._consumer._coordinator._max_poll_interval = 1.0  # seconds; 300 by default
    for _ in range(10):
        await asyncio.gather(owner.poll(1, 0.3), spare.poll(1, 0.3))
    await owner.stop()
    await send(broker.bootstrap_servers, topic, [b"0"])
    assert [record.value for record in await take(spare, 1)] == [b"0"]
