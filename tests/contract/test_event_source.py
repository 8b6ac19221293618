"""The inbox on a real broker: what it hands out, what it commits, and what it does not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import time

import pytest

from deploy.local.broker import KafkaServer
from tests.support.hostile import send_corrupt, send_unreadable
from tests.support.local import Topics, fresh_name
from tests.support.topic import committed, send
from worker.core.errors import DependencyError
from worker.core.model import Record, UnreadableRecord
from worker.kafka.authorization import AclOperation, RequiredAcl
from worker.kafka.connection import KafkaTarget, require_acls, require_topics
from worker.kafka.event_source import KafkaEventSource
from worker.kafka.membership import GroupPolicy
from worker.observability.telemetry import Telemetry
from worker.ports import Partition

OpenInbox = Callable[[str], Awaitable[KafkaEventSource]]


class Listener:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.revokes = 0

    async def on_revoke(self) -> None:
        self.revokes += 1


@pytest.fixture
async def inboxes(broker: KafkaServer, topics: Topics) -> AsyncIterator[OpenInbox]:
    opened: list[KafkaEventSource] = []

    async def open_inbox(group: str) -> KafkaEventSource:
        policy = GroupPolicy(group, session_timeout_seconds=2.0, rebalance_timeout_seconds=5.0)
        inbox = KafkaEventSource(KafkaTarget(broker.bootstrap_servers), topics.events, policy, Telemetry())
        opened.append(inbox)
        await inbox.start()
        inbox.subscribe(Listener())
        return inbox

    yield open_inbox
    await asyncio.gather(*(inbox.stop() for inbox in opened))


async def take(inbox: KafkaEventSource, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(20):
        while len(records) < count:
            records += await inbox.poll(count - len(records), 0.5)
    return records


async def test_hands_out_every_record_from_the_first_on(
    broker: KafkaServer, topics: Topics, inboxes: OpenInbox
) -> None:
    await send(broker.bootstrap_servers, topics.events, [b"%d" % number for number in range(50)] + [None])
    inbox = await inboxes(fresh_name("group"))
    records = await take(inbox, 51)
    assert sorted(record.value or b"" for record in records) == sorted([b"%d" % number for number in range(50)] + [b""])
    assert inbox.is_group_member()


async def test_goes_on_after_what_was_committed(broker: KafkaServer, topics: Topics, inboxes: OpenInbox) -> None:
    group = fresh_name("group")
    await send(broker.bootstrap_servers, topics.events, [b"0", b"1", b"2", b"3"], partition=1)
    first = await inboxes(group)
    await take(first, 4)
    assert await first.commit({Partition(topics.events, 1): 3})
    await first.stop()
    second = await inboxes(group)
    assert [record.offset for record in await take(second, 1)] == [3]
    assert await committed(broker.bootstrap_servers, topics.events, group, 4) == {0: None, 1: 3, 2: None, 3: None}


def lag_of(inbox: KafkaEventSource) -> dict[int, tuple[int, float]]:
    return {lag.partition: (lag.records, lag.seconds) for lag in inbox.lag}


async def test_lag_is_what_is_not_committed_and_the_age_of_its_oldest_record(
    broker: KafkaServer, topics: Topics, inboxes: OpenInbox
) -> None:
    an_hour_ago = int((time() - 3600) * 1000)
    await send(broker.bootstrap_servers, topics.events, [b"0"], partition=1, timestamps=[an_hour_ago])
    await send(broker.bootstrap_servers, topics.events, [b"1", b"2"], partition=1)
    inbox = await inboxes(fresh_name("group"))
    for _ in range(3):
        await take(inbox, 1)  # what one poll brings is committed together, and is one note
    records, seconds = lag_of(inbox)[1]
    assert records == 3
    assert 3600 <= seconds < 3660
    assert await inbox.commit({Partition(topics.events, 1): 1})
    records, seconds = lag_of(inbox)[1]
    assert records == 2
    assert 0 <= seconds < 60
    assert await inbox.commit({Partition(topics.events, 1): 3})
    assert lag_of(inbox)[1] == (0, 0.0)


async def test_lag_grows_while_nothing_is_taken(broker: KafkaServer, topics: Topics, inboxes: OpenInbox) -> None:
    inbox = await inboxes(fresh_name("group"))
    while not inbox.is_group_member():
        await inbox.poll(1, 0.2)
    await inbox.pause()
    for number in range(3):
        await send(broker.bootstrap_servers, topics.events, [b"%d" % number], partition=2)
    async with asyncio.timeout(30):
        while not (lag := lag_of(inbox).get(2)) or lag[0] < 3 or lag[1] <= 0.2:
            await inbox.pause()
            await asyncio.sleep(0.1)
    assert lag[0] == 3


async def test_does_not_commit_what_it_does_not_own(broker: KafkaServer, topics: Topics, inboxes: OpenInbox) -> None:
    group = fresh_name("group")
    await send(broker.bootstrap_servers, topics.events, [b"0"])
    inbox = await inboxes(group)
    await take(inbox, 1)
    assert not await inbox.commit({Partition(topics.events, 17): 1})
    assert not await inbox.commit({})


async def test_idle_takes_nothing_and_resume_takes_it_up(
    broker: KafkaServer, topics: Topics, inboxes: OpenInbox
) -> None:
    inbox = await inboxes(fresh_name("group"))
    while not inbox.is_group_member():
        await inbox.poll(1, 0.2)
    await inbox.pause()
    await send(broker.bootstrap_servers, topics.events, [b"%d" % number for number in range(20)])
    for _ in range(5):
        await inbox.pause()
    inbox.resume()
    assert len(await take(inbox, 20)) == 20


async def test_records_that_cannot_be_parsed_are_stepped_over(
    broker: KafkaServer, topics: Topics, inboxes: OpenInbox
) -> None:
    good = [b"%d" % number for number in range(20)]
    await send(broker.bootstrap_servers, topics.events, [b"before"], partition=2)
    bad = 1 + await send_unreadable(broker.bootstrap_servers, topics.events, 2, good)
    await send(broker.bootstrap_servers, topics.events, [b"elsewhere"], partition=0)
    await send(broker.bootstrap_servers, topics.events, [b"after"], partition=2)
    inbox = await inboxes(fresh_name("group"))
    records = await take(inbox, 24)
    # aiokafka parses a batch from its beginning: what follows the bad record in its batch is out of reach too.
    unreadable = [record.offset for record in records if isinstance(record, UnreadableRecord)]
    assert unreadable == list(range(bad, 22))
    assert [record.offset for record in records if record.partition == 2] == list(range(23))
    assert {record.value for record in records} == {*good[:10], b"before", b"elsewhere", b"after", b""}


@pytest.mark.parametrize("codec", range(5), ids=["plain", "gzip", "snappy", "lz4", "zstd"])
async def test_batches_that_cannot_be_unpacked_are_stepped_over(
    broker: KafkaServer, topics: Topics, inboxes: OpenInbox, codec: int
) -> None:
    """Apache Kafka refuses to store them; a broker that does not look inside hands them out."""
    await send(broker.bootstrap_servers, topics.events, [b"before"], partition=2)
    stored = await send_corrupt(broker.bootstrap_servers, topics.events, 2, 3, codec, b"\xff garbage" * 9)
    assert stored != broker.validates_batches
    await send(broker.bootstrap_servers, topics.events, [b"after"], partition=2)
    records = await take(await inboxes(fresh_name("group")), 5 if stored else 2)
    assert [record.offset for record in records] == list(range(len(records)))
    assert [isinstance(record, UnreadableRecord) for record in records[1:-1]] == [True] * 3 * stored
    assert (records[0].value, records[-1].value) == (b"before", b"after")


async def test_a_client_that_has_stopped_fetching_is_not_taken_for_an_empty_topic(inboxes: OpenInbox) -> None:
    inbox = await inboxes(fresh_name("group"))
    while not inbox.is_group_member():
        await inbox.poll(1, 0.2)
    fetching = inbox._consumer._fetcher.error_future
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    with pytest.raises(DependencyError, match="stopped fetching"):
        await inbox.poll(1, 0.2)


async def test_a_member_whose_coordinator_is_silent_is_not_said_to_be_well(inboxes: OpenInbox) -> None:
    inbox = await inboxes(fresh_name("group"))
    async with asyncio.timeout(20):
        while not inbox.is_group_member():
            await inbox.poll(1, 0.2)
        inbox._consumer._coordinator.coordinator_dead()  # what aiokafka does when a heartbeat has no answer
        assert not inbox.is_group_member()
        while not inbox.is_group_member():
            await inbox.poll(1, 0.2)
    assert inbox.has_been_group_member


async def test_missing_topics_are_named(broker: KafkaServer, topics: Topics) -> None:
    target = KafkaTarget(broker.bootstrap_servers)
    assert await require_topics(target, [topics.events, topics.dead_letters]) == {
        topics.events: 4,
        topics.dead_letters: 1,
    }
    with pytest.raises(DependencyError, match="absent-1, absent-2 does not exist"):
        await require_topics(target, ["absent-1", topics.events, "absent-2"])


async def test_asking_for_rights_creates_no_topic_and_refuses_nobody_without_acls(
    broker: KafkaServer, topics: Topics
) -> None:
    target = KafkaTarget(broker.bootstrap_servers)
    needs = [RequiredAcl(AclOperation.READ, topics.events, "A"), RequiredAcl(AclOperation.WRITE, "absent-3", "B")]
    await require_acls(target, needs, [RequiredAcl(AclOperation.READ, fresh_name("group"), "C")])
    with pytest.raises(DependencyError, match="absent-3 does not exist"):
        await require_topics(target, ["absent-3"])


async def test_a_broker_that_is_away_is_named() -> None:
    with pytest.raises(DependencyError, match="KAFKA_BOOTSTRAP_SERVERS"):
        await require_topics(KafkaTarget("127.0.0.1:1"), ["any"])
