"""Reading dead letters and source records: one suite for Kafka and for the fakes in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from time import monotonic

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.broker import KafkaServer, TansuBroker, create_topics
from tests.support.events import event, read, record
from tests.support.fakes import MemorySources, MemoryTopic
from tests.support.hostile import send_corrupt, send_unreadable
from tests.support.inflating import ZSTD, send_inflating
from tests.support.local import Topics, fresh_name
from tests.support.topic import send
from worker.core.errors import DependencyError, ErrorClass
from worker.core.model import DeadLetterPosition, FailedMetric, Failure, Record, UnreadableRecord
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord, WorkerInfo
from worker.dead_letters.record_format import parse_dead_letter
from worker.dead_letters.settlement import Action, Settlement, identify, join_runs
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.dead_letters.value import parse_metric_event
from worker.kafka.connection import start_clients
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.kafka.decompression import MAX_INFLATED_BYTES
from worker.kafka.settlement_sink import KafkaSettlementSink
from worker.kafka.source_records import KafkaSourceRecordFetcher
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_producer import open_producer
from worker.kafka.topic_reader import KafkaTopicReader
from worker.ports import DeadLetterSink, SettlementSink, TopicReader
from worker.replay.scan import DeadLetterScan

Open = Callable[[], Awaitable[KafkaTopicReader]]
ENTRY = Settlement(Action.REPLAYED, operation="1", by="operator@host", at=1_767_225_600_000, why=None, command="")
WORKER = WorkerInfo(version="1.2.3", table="default.execution_metrics")


def metrics(count: int) -> list[FailedMetric]:
    failure = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
    return [FailedMetric(read(event()), f"m{number}", number, failure, 1) for number in range(count)]


async def read_all(reader: TopicReader, ranges: Mapping[int, range] | None = None) -> list[Record]:
    ranges = await reader.fetch_offset_ranges() if ranges is None else ranges
    return [item for number, offsets in ranges.items() async for some in reader.read(number, offsets) for item in some]


@pytest.fixture
async def topic(broker: TansuBroker) -> str:
    name = fresh_name("dlq")
    await create_topics(broker.bootstrap_servers, {name: 2})
    return name


@pytest.fixture
async def open_reader(broker: TansuBroker, topic: str) -> AsyncIterator[Open]:
    opened: list[KafkaTopicReader] = []

    async def open_one() -> KafkaTopicReader:
        opened.append(KafkaTopicReader(KafkaTarget(broker.bootstrap_servers), topic, silence_seconds=5.0))
        await opened[-1].start()
        return opened[-1]

    yield open_one
    for reader in opened:
        await reader.close()


# Both readers


@pytest.fixture(params=["memory", "kafka"])
async def topic_and_reader(
    request: pytest.FixtureRequest, broker: TansuBroker, topic: str, open_reader: Open
) -> AsyncIterator[tuple[DeadLetterSink, TopicReader]]:
    if request.param == "memory":
        both = MemoryTopic(partitions=2)
        yield both, both
        return
    async with open_producer(KafkaTarget(broker.bootstrap_servers), topic, idempotent=False) as producer:
        yield KafkaDeadLetterSink(producer, WORKER, timeout_seconds=10.0), await open_reader()


@pytest.fixture
async def settlements(
    topic_and_reader: tuple[DeadLetterSink, TopicReader], broker: TansuBroker, topic: str
) -> AsyncIterator[SettlementSink]:
    sink, _ = topic_and_reader
    if isinstance(sink, MemoryTopic):
        yield sink
        return
    async with open_producer(KafkaTarget(broker.bootstrap_servers), topic, idempotent=False) as producer:
        yield KafkaSettlementSink(producer, WORKER.version, timeout_seconds=10.0)


@pytest.fixture
def sink(topic_and_reader: tuple[DeadLetterSink, TopicReader]) -> DeadLetterSink:
    return topic_and_reader[0]


@pytest.fixture
def reader(topic_and_reader: tuple[DeadLetterSink, TopicReader]) -> TopicReader:
    return topic_and_reader[1]


@pytest.mark.parametrize("count", [0, 1, 3_000])
async def test_reads_every_dead_letter(sink: DeadLetterSink, reader: TopicReader, count: int) -> None:
    await sink.write(metrics(count))
    names: list[str] = []
    for found in await read_all(reader):
        letter = parse_dead_letter(found)
        assert isinstance(letter, DeadLetter)
        names.extend(parse_metric_event(letter).metrics)
    assert sorted(names) == sorted(f"m{number}" for number in range(count))


async def test_offset_ranges_do_not_include_later_records(sink: DeadLetterSink, reader: TopicReader) -> None:
    await sink.write(metrics(5))
    ranges = await reader.fetch_offset_ranges()
    await sink.write(metrics(50))
    assert len(await read_all(reader, ranges)) == 5
    assert sum(len(offsets) for offsets in (await reader.fetch_offset_ranges()).values()) == 55


async def test_reads_any_range_in_any_order(sink: DeadLetterSink, reader: TopicReader) -> None:
    await sink.write(metrics(100))
    ranges = await reader.fetch_offset_ranges()
    partition, offsets = max(ranges.items(), key=lambda item: len(item[1]))
    for part in (range(10, 20), range(3), offsets, range(7, 8), range(5, 5)):
        assert [item.offset for item in await read_all(reader, {partition: part})] == list(part)


async def test_reads_everything_again_after_a_single_record(sink: DeadLetterSink, reader: TopicReader) -> None:
    await sink.write(metrics(20))
    scan = await DeadLetterScan.begin(reader)
    partition, offsets = max(scan.offset_ranges.items(), key=lambda item: len(item[1]))
    for _ in range(3):
        assert await scan.find(DeadLetterPosition(partition, offsets.start + 1)) is not None
        assert (await scan.scan(DeadLetterStatistics())).total == 20


async def test_settlement_is_appended_to_its_partition(
    topic_and_reader: tuple[DeadLetterSink, TopicReader], settlements: SettlementSink
) -> None:
    sink, reader = topic_and_reader
    await sink.write(metrics(20))
    for number, offsets in (await reader.fetch_offset_ranges()).items():
        letters = [(item.offset, identify(item)) for item in await read_all(reader, {number: offsets})]
        await settlements.append(number, ENTRY._replace(runs=tuple(join_runs(letters))))
    entries: list[tuple[DeadLetterPosition, int]] = []
    scan = await DeadLetterScan.begin(reader, lambda position, _, applied: entries.append((position, applied)))
    assert sum(applied for _, applied in entries) == 20
    assert (await scan.scan(DeadLetterStatistics())).total == 0
    assert [position.offset for position, _ in entries] == [
        offsets.stop - 1 for offsets in scan.offset_ranges.values() if len(offsets)
    ]


# Only Kafka


async def test_records_that_cannot_be_parsed_are_foreign(broker: TansuBroker, topic: str, open_reader: Open) -> None:
    await send(broker.bootstrap_servers, topic, [b"before"], partition=0)
    bad = 1 + await send_unreadable(broker.bootstrap_servers, topic, 0, [b"%d" % number for number in range(20)])
    await send(broker.bootstrap_servers, topic, [b"after"], partition=0)
    found = await read_all(await open_reader())
    assert [item.offset for item in found] == list(range(23))
    assert [item.offset for item in found if isinstance(item, UnreadableRecord)] == list(range(bad, 22))
    assert isinstance(parse_dead_letter(found[bad]), ForeignRecord)


async def test_batch_that_inflates_beyond_the_bound_is_read_as_one_unreadable_record(
    broker: KafkaServer, topic: str, open_reader: Open
) -> None:
    await send_inflating(broker.bootstrap_servers, topic, 0, ZSTD, MAX_INFLATED_BYTES // 2, count=2)
    await send(broker.bootstrap_servers, topic, [b"after"], partition=0)
    unreadable, after = await read_all(await open_reader())
    assert isinstance(unreadable, UnreadableRecord)
    assert (unreadable.records, unreadable.offset, after.offset, after.value) == (2, 1, 2, b"after")
    fetcher = KafkaSourceRecordFetcher(KafkaTarget(broker.bootstrap_servers))
    try:
        assert await fetcher.fetch(topic, 0, 1) is None
    finally:
        await fetcher.close()


@pytest.mark.parametrize("codec", range(5), ids=["plain", "gzip", "snappy", "lz4", "zstd"])
async def test_batches_that_cannot_be_decompressed_are_unreadable(
    broker: KafkaServer, topic: str, open_reader: Open, codec: int
) -> None:
    """Apache Kafka refuses to store them; a broker that does not decompress batches stores them."""
    stored = await send_corrupt(broker.bootstrap_servers, topic, 0, 3, codec, b"\xff garbage" * 9)
    assert stored != broker.validates_batches
    await send(broker.bootstrap_servers, topic, [b"after"], partition=0)
    found = await read_all(await open_reader())
    assert [item.offset for item in found] == list(range(len(found)))
    assert [isinstance(item, UnreadableRecord) for item in found] == [True] * 3 * stored + [False]
    fetcher = KafkaSourceRecordFetcher(KafkaTarget(broker.bootstrap_servers))
    try:
        assert await fetcher.fetch(topic, 0, 1) is None
    finally:
        await fetcher.close()


async def test_broker_that_sends_nothing_is_named(broker: TansuBroker, topic: str, open_reader: Open) -> None:
    await send(broker.bootstrap_servers, topic, [b"x"] * 3, partition=0)
    reader = await open_reader()
    with pytest.raises(DependencyError, match=rf"{topic}/0 from 3 on"):
        await read_all(reader, {0: range(5)})


async def test_time_that_the_caller_takes_is_no_silence_of_the_broker(
    broker: TansuBroker, topic: str, open_reader: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(broker.bootstrap_servers, topic, [b"x"] * 3, partition=0)
    reader = await open_reader()
    asked_twice, read = asyncio.Event(), 0

    async def send_after_a_poll_without_records() -> None:
        await asked_twice.wait()
        await send(broker.bootstrap_servers, topic, [b"y"] * 2, partition=0)

    poll = reader._poll

    async def observe(max_records: int, *partitions: TopicPartition) -> list[Record]:
        found = await poll(max_records, *partitions)
        if read and not found:
            asked_twice.set()
        return found

    monkeypatch.setattr(reader, "_poll", observe)
    sending = asyncio.create_task(send_after_a_poll_without_records())
    async for some in reader.read(0, range(5)):
        if not read:  # writing a block takes a minute
            monkeypatch.setattr("worker.kafka.topic_reader.monotonic", lambda: monotonic() + 60.0)
        read += len(some)
    await sending
    assert read == 5


# Source records


@pytest.fixture(params=["memory", "kafka"])
async def sources(
    request: pytest.FixtureRequest, broker: TansuBroker, topics: Topics
) -> AsyncIterator[MemorySources | KafkaSourceRecordFetcher]:
    values = [b"first", b"x" * 900_000, b"last"]
    if request.param == "memory":
        yield MemorySources(
            [record(value, partition=1, offset=at)._replace(topic=topics.events) for at, value in enumerate(values)]
        )
        return
    for value in values:
        await send(broker.bootstrap_servers, topics.events, [value], partition=1)
    fetcher = KafkaSourceRecordFetcher(KafkaTarget(broker.bootstrap_servers))
    yield fetcher
    await fetcher.close()


async def test_fetches_single_records_in_any_order(
    sources: MemorySources | KafkaSourceRecordFetcher, topics: Topics
) -> None:
    for offset, length in ((2, 4), (1, 900_000), (0, 5), (1, 900_000)):
        found = await sources.fetch(topics.events, 1, offset)
        assert found is not None
        assert (found.offset, len(found.value or b"")) == (offset, length)


async def test_fetches_none_if_there_is_no_record(
    sources: MemorySources | KafkaSourceRecordFetcher, topics: Topics
) -> None:
    for topic, partition, offset in ((topics.events, 1, 3), (topics.events, 0, 0), (topics.events, 9, 0)):
        assert await sources.fetch(topic, partition, offset) is None
    assert await sources.fetch(fresh_name("absent"), 0, 0) is None


async def test_consumers_whose_start_is_cancelled_are_closed() -> None:
    asked = asyncio.Event()

    async def never_answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        target = KafkaTarget(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        consumers = [AIOKafkaConsumer(**target.options()) for _ in range(2)]
        starting = asyncio.create_task(start_clients(target, *consumers))
        await asked.wait()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert starting.cancelled()
        assert [consumer._closed for consumer in consumers] == [True, True]
