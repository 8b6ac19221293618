"""Replays are killed at every step in turn, one alone and two at once; then they are finished, and all is counted."""

import asyncio
import signal
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from clickhouse_driver import Client

from deploy.local.broker import create_topics
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload
from tests.support.commands import Commands
from tests.support.events import encoded, event
from tests.support.local import fresh_name, wait_until

EVENTS, PARTITIONS = 240, 3
ROWS = "SELECT count(), uniqExact(execution_id, metric_type) FROM execution_metrics_deduplicated"
ADD = "ALTER TABLE execution_metrics ADD CONSTRAINT limit{0} CHECK metric_type != 'limited' OR metric_value < {0}"
DROP = "ALTER TABLE execution_metrics DROP CONSTRAINT limit{}"
STEPS = (1, 2, 5, 13, 34)
"""A replay is killed when the topic has so many more records: its first entry, a dead letter that fails again, a
settlement."""
SECONDS = 60.0
pytestmark = pytest.mark.timeout(300)


class TopicEnd:
    """How many records a topic has had."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    async def fetch(self) -> int:
        return sum((await self._consumer.end_offsets(self._partitions)).values())


@pytest.fixture
async def end(environment: dict[str, str]) -> AsyncIterator[TopicEnd]:
    """The end of a dead-letter topic with several partitions."""
    servers, topic = environment["KAFKA_BOOTSTRAP_SERVERS"], fresh_name("dead_letters")
    await create_topics(servers, {topic: PARTITIONS})
    environment["KAFKA_DLQ_TOPIC"] = topic
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        yield TopicEnd(consumer, topic)


@pytest.fixture
async def letters(
    workload: Workload, commands: Commands, start_worker: StartWorker, clickhouse: Client, end: TopicEnd
) -> int:
    """A dead letter of one metric of each event; returns how many."""
    assert await end.fetch() == 0
    clickhouse.execute(ADD.format(0))
    start_worker()
    async with AIOKafkaProducer(bootstrap_servers=workload.servers) as producer:
        for number in range(EVENTS):
            execution = str(UUID(int=number))  # the key, so that the dead letters of a metric are in one partition
            value = encoded(event(execution_id=execution, metrics={"free": 1, "limited": number}))
            await producer.send(workload.topic, value, execution.encode())
        await producer.flush()
    wait_until(lambda: commands.count_open() == EVENTS, "the dead letters", SECONDS)
    return EVENTS


async def replay_and_kill(commands: Commands, end: TopicEnd, replays: int, records: int, *arguments: str) -> int:
    """Start replays at once, and kill them when the topic has so many more records; returns how many were killed."""
    stop_at = await end.fetch() + records
    processes = [commands.start("replay", "--yes", "--max-replays", "99", *arguments) for _ in range(replays)]
    async with asyncio.timeout(SECONDS):
        while await end.fetch() < stop_at and any(each.poll() is None for each in processes):  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.001)
    killed = 0
    for process in processes:
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return killed


@pytest.mark.parametrize(
    "arguments",
    [("--rate", "100"), ("--edit", ".metrics.limited += 0.5", "--reason", "unit")],
    ids=("as-they-are", "edited"),
)
async def test_replays_that_are_killed_at_every_step_lose_nothing_and_count_nothing_twice(
    commands: Commands, clickhouse: Client, end: TopicEnd, letters: int, arguments: tuple[str, ...]
) -> None:
    clickhouse.execute(DROP.format(0))
    clickhouse.execute(ADD.format(letters // 2))
    killed = 0
    for replays in (1, 2):
        for records in STEPS:
            killed += await replay_and_kill(commands, end, replays, records, *arguments)
    assert killed > len(STEPS)

    commands.replay("--max-replays", "99", code=1)
    assert commands.count_open() == letters // 2
    assert clickhouse.execute(ROWS) == [(letters + letters // 2,) * 2]
    (counted,) = commands.json("audit", "--to-end")
    assert (counted["sums"]["dead_lettered"], counted["sums"]["missing"]) == (letters // 2, 0)

    clickhouse.execute(DROP.format(letters // 2))
    assert commands.replay("--max-replays", "99")["metrics_written"] == letters // 2
    assert commands.count_open() == 0
    assert clickhouse.execute(ROWS) == [(2 * letters,) * 2]
    (counted,) = commands.json("audit", "--to-end")
    edited = counted["sums"]["edited"]
    assert (counted["sums"]["in_view"] + edited, counted["sums"]["missing"]) == (2 * letters, 0)
    assert (edited > 0) == ("--edit" in arguments)
