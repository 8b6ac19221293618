"""The event source on a real broker: which records it returns, what it commits, and its lag."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from time import time

import pytest

from deploy.local.broker import KafkaServer
from tests.support.event_sources import EventSources, open_event_sources, poll_records, wait_until_member
from tests.support.hostile import send_corrupt, send_unreadable
from tests.support.inflating import GZIP, LZ4, ZSTD, send_inflating
from tests.support.local import Topics, fresh_name
from tests.support.topic import committed, send
from worker.core.errors import DependencyError
from worker.core.model import UnreadableRecord
from worker.kafka.authorization import AclOperation, RequiredAcl
from worker.kafka.connection import require_acls, require_topics
from worker.kafka.decompression import MAX_INFLATED_BYTES
from worker.kafka.event_source import KafkaEventSource
from worker.kafka.target import KafkaTarget
from worker.ports import Partition

OpenSource = Callable[[str], Awaitable[KafkaEventSource]]


@pytest.fixture
async def sources() -> AsyncIterator[EventSources]:
    async with open_event_sources() as sources:
        yield sources


@pytest.fixture
def open_source(broker: KafkaServer, topics: Topics, sources: EventSources) -> OpenSource:
    """Opens an event source of the test's topic for a group."""
    return partial(sources.open, broker.bootstrap_servers, topics.events)


async def test_new_group_reads_from_the_first_record(
    broker: KafkaServer, topics: Topics, open_source: OpenSource
) -> None:
    await send(broker.bootstrap_servers, topics.events, [b"%d" % number for number in range(50)] + [None])
    source = await open_source(fresh_name("group"))
    records = await poll_records(source, 51)
    assert sorted(record.value or b"" for record in records) == sorted([b"%d" % number for number in range(50)] + [b""])
    assert source.is_group_member


async def test_group_continues_after_its_committed_offset(
    broker: KafkaServer, topics: Topics, open_source: OpenSource
) -> None:
    group = fresh_name("group")
    await send(broker.bootstrap_servers, topics.events, [b"0", b"1", b"2", b"3"], partition=1)
    first = await open_source(group)
    await poll_records(first, 4)
    assert await first.commit({Partition(topics.events, 1): 3})
    await first.close()
    second = await open_source(group)
    assert [record.offset for record in await poll_records(second, 1)] == [3]
    assert await committed(broker.bootstrap_servers, topics.events, group, 4) == {0: 0, 1: 3, 2: 0, 3: 0}


def lag_of(source: KafkaEventSource) -> dict[int, tuple[int, float]]:
    return {lag.partition: (lag.records, lag.seconds) for lag in source.lag}


async def test_lag_is_the_uncommitted_records_and_the_age_of_the_oldest(
    broker: KafkaServer, topics: Topics, open_source: OpenSource
) -> None:
    an_hour_ago = int((time() - 3600) * 1000)
    await send(broker.bootstrap_servers, topics.events, [b"0"], partition=1, timestamps=[an_hour_ago])
    await send(broker.bootstrap_servers, topics.events, [b"1", b"2"], partition=1)
    source = await open_source(fresh_name("group"))
    for _ in range(3):
        await poll_records(source, 1)  # the lag has one entry per poll
    records, seconds = lag_of(source)[1]
    assert records == 3
    assert 3600 <= seconds < 3660
    assert await source.commit({Partition(topics.events, 1): 1})
    records, seconds = lag_of(source)[1]
    assert records == 2
    assert 0 <= seconds < 60
    assert await source.commit({Partition(topics.events, 1): 3})
    assert lag_of(source)[1] == (0, 0.0)


async def test_lag_grows_while_paused(broker: KafkaServer, topics: Topics, open_source: OpenSource) -> None:
    source = await open_source(fresh_name("group"))
    await wait_until_member(source)
    await source.pause()
    for number in range(3):
        await send(broker.bootstrap_servers, topics.events, [b"%d" % number], partition=2)
    async with asyncio.timeout(30):
        while not (lag := lag_of(source).get(2)) or lag[0] < 3 or lag[1] <= 0.2:
            await source.pause()
            await asyncio.sleep(0.1)
    assert lag[0] == 3


async def test_partitions_of_others_are_not_committed(
    broker: KafkaServer, topics: Topics, open_source: OpenSource
) -> None:
    group = fresh_name("group")
    await send(broker.bootstrap_servers, topics.events, [b"0"])
    source = await open_source(group)
    await poll_records(source, 1)
    assert not await source.commit({Partition(topics.events, 17): 1})
    assert not await source.commit({})


async def test_pause_reads_nothing_and_resume_reads_it(
    broker: KafkaServer, topics: Topics, open_source: OpenSource
) -> None:
    source = await open_source(fresh_name("group"))
    await wait_until_member(source)
    await source.pause()
    await send(broker.bootstrap_servers, topics.events, [b"%d" % number for number in range(20)])
    for _ in range(5):
        await source.pause()
    source.resume()
    assert len(await poll_records(source, 20)) == 20


async def test_unparsable_records_are_skipped(broker: KafkaServer, topics: Topics, open_source: OpenSource) -> None:
    good = [b"%d" % number for number in range(20)]
    await send(broker.bootstrap_servers, topics.events, [b"before"], partition=2)
    bad = 1 + await send_unreadable(broker.bootstrap_servers, topics.events, 2, good)
    await send(broker.bootstrap_servers, topics.events, [b"elsewhere"], partition=0)
    await send(broker.bootstrap_servers, topics.events, [b"after"], partition=2)
    source = await open_source(fresh_name("group"))
    records = await poll_records(source, 24)
    # aiokafka parses a batch from its start: the records after the bad one in its batch are lost too.
    unreadable = [record.offset for record in records if isinstance(record, UnreadableRecord)]
    assert unreadable == list(range(bad, 22))
    assert [record.offset for record in records if record.partition == 2] == list(range(23))
    assert {record.value for record in records} == {*good[:10], b"before", b"elsewhere", b"after", b""}


@pytest.mark.parametrize("codec", range(5), ids=["plain", "gzip", "snappy", "lz4", "zstd"])
async def test_batches_that_cannot_be_decompressed_are_skipped(
    broker: KafkaServer, topics: Topics, open_source: OpenSource, codec: int
) -> None:
    """Apache Kafka refuses to store them; a broker that does not decompress batches stores them."""
    await send(broker.bootstrap_servers, topics.events, [b"before"], partition=2)
    stored = await send_corrupt(broker.bootstrap_servers, topics.events, 2, 3, codec, b"\xff garbage" * 9)
    assert stored != broker.validates_batches
    await send(broker.bootstrap_servers, topics.events, [b"after"], partition=2)
    records = await poll_records(await open_source(fresh_name("group")), 5 if stored else 2)
    assert [record.offset for record in records] == list(range(len(records)))
    assert [isinstance(record, UnreadableRecord) for record in records[1:-1]] == [True] * 3 * stored
    assert (records[0].value, records[-1].value) == (b"before", b"after")


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD], ids=["gzip", "lz4", "zstd"])
async def test_batch_that_inflates_beyond_the_bound_is_one_unreadable_record(
    broker: KafkaServer, topics: Topics, open_source: OpenSource, codec: int
) -> None:
    """Snappy cannot: it compresses to a twentieth at best, and a batch has at most 1 MiB."""
    await send(broker.bootstrap_servers, topics.events, [b"before"], partition=2)
    await send_inflating(broker.bootstrap_servers, topics.events, 2, codec, MAX_INFLATED_BYTES // 3, count=3)
    await send(broker.bootstrap_servers, topics.events, [b"after"], partition=2)
    source = await open_source(fresh_name("group"))
    before, unreadable, after = await poll_records(source, 3)
    assert (before.value, after.value, after.offset) == (b"before", b"after", 4)
    assert isinstance(unreadable, UnreadableRecord)
    assert (unreadable.first_offset, unreadable.offset, unreadable.records) == (1, 3, 3)
    assert unreadable.reason == (
        "none of the records at 1 to 3 can be read: their record batch inflates to more than 32 MiB"
    )


async def test_poll_returns_no_more_bytes_than_asked_for_and_one_record(
    broker: KafkaServer, topics: Topics, open_source: OpenSource
) -> None:
    for partition in range(4):
        await send_inflating(broker.bootstrap_servers, topics.events, partition, ZSTD, 1_000_000, count=20)
    source = await open_source(fresh_name("group"))
    read: dict[int, list[int]] = {partition: [] for partition in range(4)}
    async with asyncio.timeout(20):
        while sum(map(len, read.values())) < 80:
            polled = (await source.poll(500, 5_500_000, 0.5)).records
            assert len(polled) <= 6
            for record in polled:
                read[record.partition].append(record.offset)
    assert read == {partition: list(range(20)) for partition in range(4)}


async def test_pause_within_an_unreadable_batch_loses_nothing(
    broker: KafkaServer, topics: Topics, open_source: OpenSource
) -> None:
    source = await open_source(fresh_name("group"))
    await wait_until_member(source)
    await send_inflating(broker.bootstrap_servers, topics.events, 1, LZ4, MAX_INFLATED_BYTES // 3, count=3)
    good = [b"%d" % number for number in range(20)]
    bad = 3 + await send_unreadable(broker.bootstrap_servers, topics.events, 1, good)
    offsets: list[int] = []
    async with asyncio.timeout(60):
        while not offsets or offsets[-1] < 23:
            await source.pause()
            source.resume()
            polled = (await source.poll(1, 1, 0.5)).records
            offsets += [record.offset for record in polled]
            assert all(isinstance(record, UnreadableRecord) == (not 2 < record.offset < bad) for record in polled)
    assert offsets == [2, *range(3, 24)]


async def test_client_that_stopped_fetching_is_an_error(open_source: OpenSource) -> None:
    source = await open_source(fresh_name("group"))
    await wait_until_member(source)
    fetch_task = source._consumer._fetcher.error_future
    fetch_task.cancel()
    await asyncio.gather(fetch_task, return_exceptions=True)
    with pytest.raises(DependencyError, match="stopped fetching"):
        await source.poll(1, 1, 0.2)


async def test_member_without_a_coordinator_is_not_reported_as_member(open_source: OpenSource) -> None:
    source = await open_source(fresh_name("group"))
    await wait_until_member(source)
    source._consumer._coordinator.coordinator_dead()  # as aiokafka does when a heartbeat has no answer
    assert not source.is_group_member
    await wait_until_member(source)
    assert source.has_been_group_member


async def test_missing_topics_are_named(broker: KafkaServer, topics: Topics) -> None:
    target = KafkaTarget(broker.bootstrap_servers)
    assert await require_topics(target, [topics.events, topics.dead_letters]) == {
        topics.events: 4,
        topics.dead_letters: 1,
    }
    with pytest.raises(DependencyError, match="absent-1, absent-2 does not exist"):
        await require_topics(target, ["absent-1", topics.events, "absent-2"])


async def test_acl_check_creates_no_topic_and_passes_without_acls(broker: KafkaServer, topics: Topics) -> None:
    target = KafkaTarget(broker.bootstrap_servers)
    acls = [RequiredAcl(AclOperation.READ, topics.events, "A"), RequiredAcl(AclOperation.WRITE, "absent-3", "B")]
    await require_acls(target, acls, [RequiredAcl(AclOperation.READ, fresh_name("group"), "C")])
    with pytest.raises(DependencyError, match="absent-3 does not exist"):
        await require_topics(target, ["absent-3"])
