"""The dead-letter topic as replays find it: one suite, for the real one and for the one in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer

from deploy.local.broker import TansuBroker, create_topics
from tests.support.events import event, read, record
from tests.support.fakes import MemorySources, MemoryTopic
from tests.support.hostile import send_unreadable
from tests.support.local import Topics, fresh_name
from tests.support.topic import committed, send
from worker.core.errors import DependencyError, ErrorClass
from worker.core.model import FailedMetric, Failure, Record, RecordPosition, UnreadableRecord
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord, WorkerInfo
from worker.dead_letters.progress import ReplayProgress
from worker.dead_letters.record_format import parse_dead_letter
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.dead_letters.value import parse_metric_event
from worker.kafka.connection import KafkaTarget, open_producer, start_consumers
from worker.kafka.dead_letter_reader import KafkaDeadLetterReader
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.kafka.source_records import KafkaSourceRecordFetcher
from worker.ports import DeadLetterReader, DeadLetterSink
from worker.replay.scan import DeadLetterScan

Open = Callable[[], Awaitable[KafkaDeadLetterReader]]
HEAD = WorkerInfo(version="1.2.3", table="default.execution_metrics")


def metrics(count: int) -> list[FailedMetric]:
    failure = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
    return [FailedMetric(read(event()), f"m{number}", number, failure, 1) for number in range(count)]


async def records_of(backlog: DeadLetterReader, partition: int, offsets: range) -> list[Record]:
    return [found async for some in backlog.read(partition, offsets) for found in some]


@pytest.fixture
async def topic(broker: TansuBroker) -> str:
    name = fresh_name("dlq")
    await create_topics(broker.bootstrap_servers, {name: 2})
    return name


@pytest.fixture
async def open_backlog(broker: TansuBroker, topic: str) -> AsyncIterator[Open]:
    opened: list[KafkaDeadLetterReader] = []
    group = fresh_name("group")

    async def open_one() -> KafkaDeadLetterReader:
        opened.append(KafkaDeadLetterReader(KafkaTarget(broker.bootstrap_servers), topic, group, silence_seconds=5.0))
        await opened[-1].start()
        return opened[-1]

    yield open_one
    for backlog in opened:
        await backlog.stop()


class TestEveryBacklog:
    @pytest.fixture(params=["memory", "kafka"])
    async def subject(
        self, request: pytest.FixtureRequest, broker: TansuBroker, topic: str, open_backlog: Open
    ) -> AsyncIterator[tuple[DeadLetterSink, DeadLetterReader]]:
        if request.param == "memory":
            both = MemoryTopic(partitions=2)
            yield both, both
            return
        async with open_producer(KafkaTarget(broker.bootstrap_servers), idempotent=False) as producer:
            yield KafkaDeadLetterSink(producer, topic, HEAD, timeout_seconds=10.0), await open_backlog()

    @pytest.mark.parametrize("count", [0, 1, 3_000])
    async def test_hands_out_what_stands_there(
        self, subject: tuple[DeadLetterSink, DeadLetterReader], count: int
    ) -> None:
        dead_letters, backlog = subject
        await dead_letters.write(metrics(count))
        extent = await backlog.offset_ranges()
        assert sum(len(offsets) for offsets in extent.values()) == count
        found = [item for number, offsets in extent.items() for item in await records_of(backlog, number, offsets)]
        letters = [parse_dead_letter(item) for item in found]
        assert sorted(letter.metric or "" for letter in letters if isinstance(letter, DeadLetter)) == sorted(
            f"m{number}" for number in range(count)
        )
        assert all(
            isinstance(letter, DeadLetter) and len(parse_metric_event(letter).metrics) == 1 for letter in letters
        )

    async def test_what_comes_later_is_none_of_it(self, subject: tuple[DeadLetterSink, DeadLetterReader]) -> None:
        dead_letters, backlog = subject
        await dead_letters.write(metrics(5))
        extent = await backlog.offset_ranges()
        await dead_letters.write(metrics(50))
        found = [item for number, offsets in extent.items() for item in await records_of(backlog, number, offsets)]
        assert len(found) == 5
        assert sum(len(offsets) for offsets in (await backlog.offset_ranges()).values()) == 55

    async def test_reads_any_part_in_any_order(self, subject: tuple[DeadLetterSink, DeadLetterReader]) -> None:
        dead_letters, backlog = subject
        await dead_letters.write(metrics(100))
        extent = await backlog.offset_ranges()
        number, offsets = max(extent.items(), key=lambda item: len(item[1]))
        for part in (range(10, 20), range(3), offsets, range(7, 8), range(5, 5)):
            assert [item.offset for item in await records_of(backlog, number, part)] == list(part)

    async def test_is_read_again_after_one_place_of_it(self, subject: tuple[DeadLetterSink, DeadLetterReader]) -> None:
        dead_letters, backlog = subject
        await dead_letters.write(metrics(20))
        standing = await DeadLetterScan.begin(backlog)
        place = next(
            RecordPosition(number, offsets.start + 1)
            for number, offsets in standing.offset_ranges.items()
            if len(offsets) > 1
        )
        for _ in range(3):
            assert await standing.find(place) is not None
            assert (await standing.scan(DeadLetterStatistics)).total == 20

    async def test_keeps_the_progress_of_each_partition(self, subject: tuple[DeadLetterSink, DeadLetterReader]) -> None:
        _, backlog = subject
        assert dict(await backlog.load_progress()) == {}
        await backlog.save_progress({0: ReplayProgress(7)}, {})
        await backlog.save_progress({1: ReplayProgress(3), 0: ReplayProgress(5)}, {})
        kept = await backlog.load_progress()
        assert {number: done.first_open for number, done in kept.items()} == {0: 7, 1: 3}, "nobody goes back"

    async def test_what_is_done_beyond_an_offset_is_kept_or_known_to_be_lost(
        self, subject: tuple[DeadLetterSink, DeadLetterReader]
    ) -> None:
        _, backlog = subject
        done = ReplayProgress(3)
        done.mark_range_done(5, 9)
        await backlog.save_progress({0: done}, {})
        kept = (await backlog.load_progress())[0]
        assert (kept.first_open, 7 in kept) == (3, kept.is_complete), "Tansu forgets it, and the reader can tell"
        assert 4 not in kept

    async def test_who_saves_beside_others_is_not_told_of_them(
        self, subject: tuple[DeadLetterSink, DeadLetterReader]
    ) -> None:
        _, backlog = subject
        await backlog.save_progress({0: ReplayProgress(7)}, {})
        mine = ReplayProgress(3)
        await backlog.save_progress({0: mine}, {})
        assert mine == ReplayProgress(3)
        assert (await backlog.load_progress())[0].first_open == 7

    async def test_the_progress_of_a_topic_that_was_made_again_goes_once(
        self, subject: tuple[DeadLetterSink, DeadLetterReader]
    ) -> None:
        dead_letters, backlog = subject
        await dead_letters.write(metrics(4))
        await backlog.save_progress({0: ReplayProgress(1_000), 1: ReplayProgress(1_000)}, {})
        one, other = await DeadLetterScan.begin(backlog), await DeadLetterScan.begin(backlog)
        assert (await one.scan(DeadLetterStatistics)).total == 4
        await one.save_progress()
        assert (await one.scan(DeadLetterStatistics)).total == 4, "to save what is done has settled nothing"
        kept = await backlog.load_progress()
        assert {number: done.first_open for number, done in kept.items()} == {0: 0, 1: 0}
        await backlog.save_progress({0: ReplayProgress(2)}, {})  # of a third
        await other.save_progress()
        assert (await backlog.load_progress())[0].first_open == 2, "only what was of the earlier topic has gone"


class TestTheTopic:
    async def test_looking_touches_no_offset_and_joins_no_group(
        self, broker: TansuBroker, topic: str, open_backlog: Open
    ) -> None:
        await send(broker.bootstrap_servers, topic, [b"x"] * 10, partition=0)
        backlog = await open_backlog()
        standing = await DeadLetterScan.begin(backlog)
        assert (await standing.scan(DeadLetterStatistics)).foreign == 10
        assert await committed(broker.bootstrap_servers, topic, backlog._group_id, 2) == {0: None, 1: None}

    async def test_records_that_cannot_be_parsed_are_foreign(
        self, broker: TansuBroker, topic: str, open_backlog: Open
    ) -> None:
        await send(broker.bootstrap_servers, topic, [b"before"], partition=0)
        bad = 1 + await send_unreadable(broker.bootstrap_servers, topic, 0, [b"%d" % number for number in range(20)])
        await send(broker.bootstrap_servers, topic, [b"after"], partition=0)
        backlog = await open_backlog()
        found = await records_of(backlog, 0, (await backlog.offset_ranges())[0])
        assert [item.offset for item in found] == list(range(23))
        assert [item.offset for item in found if isinstance(item, UnreadableRecord)] == list(range(bad, 22))
        assert isinstance(parse_dead_letter(found[bad]), ForeignRecord)

    async def test_a_broker_that_falls_silent_is_named(
        self, broker: TansuBroker, topic: str, open_backlog: Open
    ) -> None:
        await send(broker.bootstrap_servers, topic, [b"x"] * 3, partition=0)
        backlog = await open_backlog()
        with pytest.raises(DependencyError, match=rf"{topic}/0 from 3 on"):
            await records_of(backlog, 0, range(5))


class TestSources:
    @pytest.fixture(params=["memory", "kafka"])
    async def subject(
        self, request: pytest.FixtureRequest, broker: TansuBroker, topics: Topics
    ) -> AsyncIterator[MemorySources | KafkaSourceRecordFetcher]:
        values = [b"first", b"x" * 900_000, b"last"]
        if request.param == "memory":
            kept = [
                record(value, partition=1, offset=at)._replace(topic=topics.events) for at, value in enumerate(values)
            ]
            yield MemorySources(kept)
            return
        for value in values:
            await send(broker.bootstrap_servers, topics.events, [value], partition=1)
        sources = KafkaSourceRecordFetcher(KafkaTarget(broker.bootstrap_servers))
        yield sources
        await sources.stop()

    async def test_fetches_single_records_in_any_order(
        self, subject: MemorySources | KafkaSourceRecordFetcher, topics: Topics
    ) -> None:
        for offset, length in ((2, 4), (1, 900_000), (0, 5), (1, 900_000)):
            found = await subject.fetch(topics.events, 1, offset)
            assert found is not None
            assert (found.offset, len(found.value or b"")) == (offset, length)

    async def test_what_is_not_there_is_nothing(
        self, subject: MemorySources | KafkaSourceRecordFetcher, topics: Topics
    ) -> None:
        for topic, partition, offset in ((topics.events, 1, 3), (topics.events, 0, 0), (topics.events, 9, 0)):
            assert await subject.fetch(topic, partition, offset) is None
        assert await subject.fetch(fresh_name("absent"), 0, 0) is None


async def test_consumers_whose_start_is_cancelled_are_closed() -> None:
    asked = asyncio.Event()

    async def keep_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        target = KafkaTarget(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        consumers = [AIOKafkaConsumer(**target.options()) for _ in range(2)]
        starting = asyncio.create_task(start_consumers(target, *consumers))
        await asked.wait()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert starting.cancelled()
        assert [consumer._closed for consumer in consumers] == [True, True]
