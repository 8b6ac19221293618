"""`metrics-worker audit`: what is not where it must be is found, and nothing else is."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from clickhouse_driver import Client

from deploy.local.broker import create_topics
from deploy.local.process import free_port
from tests.fuzz.generate import make
from tests.fuzz.record import Fuzzed
from tests.integration.conftest import StartWorker
from tests.integration.test_replay import Commands, bury
from tests.support.events import JANUARY_2026, Record, encoded, event
from tests.support.topic import committed, read, send, size
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, Failure

Environment = dict[str, str]
Json = dict[str, Any]


@pytest.fixture
def commands(environment: Environment) -> Commands:
    return Commands(environment)


async def put(environment: Environment, *values: bytes | None, partition: int = 1, **options: Any) -> None:
    servers, topic = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"]
    await send(servers, topic, values, partition=partition, **options)


async def settled(environment: Environment, partition: int, count: int) -> None:
    """Wait until the workers have committed so many records of a partition."""
    servers, topic, group = (environment[f"KAFKA_{name}"] for name in ("BOOTSTRAP_SERVERS", "TOPIC", "GROUP_ID"))
    async with asyncio.timeout(60):
        while (await committed(servers, topic, group, partition + 1))[partition] != count:  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(0.1)


def audit(commands: Commands, *arguments: str, code: int = 0) -> tuple[list[Json], Json]:
    """The findings and the sums."""
    *findings, last = commands.json("audit", *arguments, code=code)
    return findings, last["sums"]


def mutate(clickhouse: Client, change: str) -> None:
    clickhouse.execute(f"ALTER TABLE execution_metrics {change} SETTINGS mutations_sync = 2")


def numbered(number: int, **fields: object) -> bytes:
    return encoded(event(execution_id=str(UUID(int=number)), **fields))


@pytest.fixture
async def written(environment: Environment, start_worker: StartWorker) -> None:
    """Twenty events of two rows each, one with a NaN and a text, one that is none, and a tombstone."""
    start_worker()
    events = [numbered(number) for number in range(20)]
    odd = numbered(20, metrics={"good": 1, "bad": float("nan"), "n" * 300: 1, "text": "x"})
    await put(environment, *events, odd, b"no event", None)
    await settled(environment, 1, 23)


@pytest.mark.usefixtures("written")
async def test_finds_nothing_where_all_is_well(environment: Environment, commands: Commands) -> None:
    findings, sums = audit(commands)
    assert findings == []
    assert (sums["records"], sums["events"], sums["tombstones"]) == (23, 21, 1)
    assert (sums["in_view"], sums["dead_lettered"], sums["skipped"]) == (41, 3, {"string": 1})
    servers, topic, group = (environment[f"KAFKA_{name}"] for name in ("BOOTSTRAP_SERVERS", "TOPIC", "GROUP_ID"))
    assert (await committed(servers, topic, group, 2))[1] == 23, "no committed offset is touched"


@pytest.mark.usefixtures("written")
async def test_finds_a_row_that_was_deleted_by_hand(commands: Commands, clickhouse: Client) -> None:
    mutate(clickhouse, f"DELETE WHERE execution_id = '{UUID(int=7)}' AND metric_type = 'cost_usd'")
    (finding,), sums = audit(commands, code=1)
    assert (sums["in_view"], sums["missing"], sums["different"]) == (40, 1, 0)
    assert (finding["finding"], finding["metric"], finding["execution_id"]) == ("missing", "cost_usd", str(UUID(int=7)))
    assert finding["source"] == {"partition": 1, "offset": 7}
    # Only what was asked for is looked at.
    assert audit(commands, "--from-offset", "8")[1]["records"] == 15
    assert audit(commands, "--to-offset", "7")[1]["in_view"] == 14
    assert audit(commands, "--partition", "0")[1]["records"] == 0
    assert audit(commands, "--partition", "1", "--from-offset", "7", "--to-offset", "8", code=1)[1]["missing"] == 1


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("metric_value = metric_value + 1", "metric_value"),
        ("user_id = NULL", "user_id"),
    ],
)
async def test_finds_a_value_that_was_changed(commands: Commands, clickhouse: Client, change: str, name: str) -> None:
    mutate(clickhouse, f"UPDATE {change} WHERE source_offset = 3 AND metric_type = 'cost_usd'")
    (finding,), sums = audit(commands, code=1)
    assert (finding["finding"], finding["metric"], sums["different"]) == ("different", "cost_usd", 1)
    assert finding["detail"].startswith(f"{name} is ")
    assert "expected" in commands.run("audit").stdout


@pytest.mark.usefixtures("written")
async def test_finds_a_dead_letter_that_was_removed(environment: Environment) -> None:
    """Kafka deletes no single record: a topic with all letters but one stands in for the one it was removed from."""
    servers, topic = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"]
    letters = await read(servers, topic, 3)
    for removed in range(3):
        elsewhere = f"{topic}_{removed}"
        await create_topics(servers, {elsewhere: 1})
        for number, letter in enumerate(letters):
            if number != removed:
                await send(servers, elsewhere, [letter.value], key=letter.key or b"", headers=letter.headers)
        (finding,), sums = audit(Commands(environment | {"KAFKA_DLQ_TOPIC": elsewhere}), code=1)
        gone = dict(letters[removed].headers)
        assert sums["dead_lettered"] == 2
        assert finding["source"]["offset"] == int(gone["dlq.source.offset"])
        assert ("dlq.metric" in gone) == (finding["metric"] is not None)
        assert (finding["metric"] or "").startswith(gone.get("dlq.metric", b"").decode())


async def test_what_was_superseded_or_came_twice_is_not_missing(
    environment: Environment, start_worker: StartWorker, commands: Commands
) -> None:
    start_worker()
    times = [JANUARY_2026 + number for number in (0, 5, 3, 5, 5)]
    await put(environment, *(numbered(1, metrics={"a": n}) for n in range(5)), timestamps=times)
    await settled(environment, 1, 5)
    findings, sums = audit(commands)
    assert (findings, sums["in_view"], sums["superseded"]) == ([], 1, 4)
    until = f"2026-01-01T00:00:00.00{4}Z"
    assert audit(commands, "--until", until)[1]["records"] == 2
    assert audit(commands, "--since", until)[1]["records"] == 3


@pytest.mark.usefixtures("not_negative")
async def test_what_a_replay_has_put_back_is_in_the_view(
    environment: Environment, start_worker: StartWorker, commands: Commands, clickhouse: Client
) -> None:
    start_worker()
    await put(environment, numbered(1, metrics={"a": -1, "b": 1}), numbered(2, metrics={"a": -1, "nan": float("nan")}))
    await settled(environment, 1, 2)
    assert audit(commands)[1] | {"in_view": 1, "dead_lettered": 3} == audit(commands)[1]
    commands.replay("--metric", "nan", code=1)
    assert audit(commands)[1]["dead_lettered"] == 3, "what failed again has a letter again"
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    commands.replay(code=1)
    assert audit(commands)[1] | {"in_view": 3, "dead_lettered": 1} == audit(commands)[1]
    mutate(clickhouse, "DELETE WHERE metric_type = 'a'")
    assert audit(commands, code=1)[1]["missing"] == 2, "a letter that is settled is no excuse"


async def test_the_letter_of_a_whole_event_stands_for_its_metrics(environment: Environment, commands: Commands) -> None:
    """An older worker refused what this one can read."""
    await put(environment, numbered(1))
    assert audit(commands)[1]["records"] == 0, "nobody has committed anything"
    assert audit(commands, "--to-end", code=1)[1]["missing"] == 2
    source = Record(numbered(1), topic=environment["KAFKA_TOPIC"], partition=1)
    await bury(environment, FailedEvent(source, Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "not known")))
    assert audit(commands, "--to-end")[1]["dead_lettered"] == 2


def sendable(record: Fuzzed) -> bool:
    small = sum(len(value or b"") for value in (record.value, record.key, *dict(record.headers).values())) < 500_000
    return record.value is not None and not record.unreadable and small and record.timestamp >= 0


async def test_agrees_with_the_worker_about_hostile_records(
    environment: Environment, start_worker: StartWorker, commands: Commands, clickhouse: Client
) -> None:
    start_worker()
    records = [record for record in (make(11, number) for number in range(600)) if sendable(record)]
    servers, topic, sent = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], len(records)
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        for record in records:
            await producer.send_and_wait(
                topic, record.value, partition=1, headers=list(record.headers), timestamp_ms=record.timestamp
            )
    await settled(environment, 1, sent)
    findings, sums = audit(commands)
    assert (findings, sums["records"]) == ([], sent)
    assert min(sums["in_view"], sums["dead_lettered"]) > 50
    ((rows,),) = clickhouse.execute("SELECT count() FROM execution_metrics_deduplicated")
    assert rows == sums["in_view"]
    clickhouse.execute("TRUNCATE TABLE execution_metrics")
    assert audit(commands, code=1)[1]["missing"] == sums["in_view"] + sums["superseded"]
    assert await size(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"]) == sums["dead_lettered"]


def test_a_dependency_that_is_away_is_3_and_a_wrong_question_2(environment: Environment) -> None:
    away = f"127.0.0.1:{free_port()}"
    commands = Commands(environment)
    assert commands.run("audit", KAFKA_BOOTSTRAP_SERVERS=away).returncode == 3
    assert commands.run("audit", KAFKA_TOPIC="absent").returncode == 3
    assert commands.run("audit", "--partition", "99").returncode == 2
    assert commands.run("audit", "--since", "yesterday").returncode == 2


@pytest.mark.usefixtures("written")
async def test_a_clickhouse_that_is_away_is_3(commands: Commands) -> None:
    assert commands.run("audit", CLICKHOUSE_PORT=str(free_port())).returncode == 3
    gone = commands.run("audit", CLICKHOUSE_TABLE="absent")
    assert gone.returncode == 3
    assert "UNKNOWN_TABLE" in gone.stderr
