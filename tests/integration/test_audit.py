"""`metrics-worker audit` reports every metric that is missing or different, and nothing else."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from clickhouse_driver import Client

from deploy.local.process import free_port
from tests.fuzz.fuzz_record import FuzzRecord
from tests.fuzz.generate import ORDINARY, make_record
from tests.integration.conftest import Environment, StartWorker, committed_offsets, count_dead_letters, produce
from tests.support.commands import Commands
from tests.support.events import encoded, event

Json = dict[str, Any]


async def wait_for_commit(environment: Environment, offset: int) -> None:
    """Wait until the worker has committed `offset` in partition 1."""
    async with asyncio.timeout(60):
        while (await committed_offsets(environment))[1] != offset:  # noqa: ASYNC110 - Kafka sends no notification
            await asyncio.sleep(0.1)


def audit(commands: Commands, *arguments: str, code: int = 0) -> tuple[list[Json], Json]:
    """Run the command; returns the findings and the sums."""
    *findings, last = commands.json("audit", *arguments, code=code)
    return findings, last["sums"]


def mutate(clickhouse: Client, change: str) -> None:
    clickhouse.execute(f"ALTER TABLE execution_metrics {change} SETTINGS mutations_sync = 2")


def numbered(number: int, **fields: object) -> bytes:
    return encoded(event(execution_id=str(UUID(int=number)), **fields))


@pytest.fixture
async def written(environment: Environment, start_worker: StartWorker) -> None:
    """A worker has handled 20 events of two rows, one with a NaN and a text, an unreadable one, and a tombstone."""
    start_worker()
    events = [numbered(number) for number in range(20)]
    odd = numbered(20, metrics={"good": 1, "bad": float("nan"), "n" * 300: 1, "text": "x"})
    await produce(environment, *events, odd, b"no event", None, partition=1)
    await wait_for_commit(environment, 23)


@pytest.mark.usefixtures("written")
async def test_nothing_is_reported_and_nothing_committed_when_all_is_well(
    environment: Environment, commands: Commands
) -> None:
    findings, sums = audit(commands)
    assert findings == []
    assert (sums["records"], sums["events"], sums["tombstones"]) == (23, 21, 1)
    assert (sums["in_view"], sums["dead_lettered"], sums["skipped"]) == (41, 3, {"string": 1})
    assert (await committed_offsets(environment))[1] == 23


@pytest.mark.usefixtures("written")
async def test_deleted_and_changed_rows_are_reported_where_the_options_include_them(
    commands: Commands, clickhouse: Client
) -> None:
    mutate(clickhouse, f"DELETE WHERE execution_id = '{UUID(int=7)}' AND metric_type = 'cost_usd'")
    mutate(clickhouse, "UPDATE metric_value = metric_value + 1 WHERE source_offset = 9 AND metric_type = 'cost_usd'")
    mutate(clickhouse, "UPDATE labels = map('release', '1.5') WHERE source_offset = 11 AND metric_type = 'cost_usd'")
    (missing, different, relabelled), sums = audit(commands, code=1)
    assert (sums["in_view"], sums["missing"], sums["different"]) == (38, 1, 2)
    assert (missing["finding"], missing["metric"], missing["execution_id"]) == ("missing", "cost_usd", str(UUID(int=7)))
    assert missing["source"] == {"partition": 1, "offset": 7}
    assert (different["finding"], different["source"]["offset"]) == ("different", 9)
    assert (relabelled["source"]["offset"], relabelled["detail"]) == (11, "labels is {'release': '1.5'}, expected {}")
    assert audit(commands, "--from-offset", "12")[1]["records"] == 11
    assert audit(commands, "--to-offset", "7")[1]["in_view"] == 14
    assert audit(commands, "--partition", "0")[1]["records"] == 0
    assert audit(commands, "--until", "1h")[1]["records"] == 0
    assert audit(commands, "--since", "1h", code=1)[1]["records"] == 23
    assert audit(commands, "--partition", "1", "--from-offset", "7", "--to-offset", "8", code=1)[1]["missing"] == 1


@pytest.mark.usefixtures("not_negative")
async def test_replayed_metric_is_in_the_view_and_its_settled_letter_does_not_count(
    environment: Environment, start_worker: StartWorker, commands: Commands, clickhouse: Client
) -> None:
    start_worker()
    nan = float("nan")
    await produce(
        environment, numbered(1, metrics={"a": -1, "b": 1}), numbered(2, metrics={"a": -1, "nan": nan}), partition=1
    )
    await wait_for_commit(environment, 2)
    assert audit(commands)[1] | {"in_view": 1, "dead_lettered": 3} == audit(commands)[1]
    commands.replay("--metric", "nan", code=1)
    assert audit(commands)[1]["dead_lettered"] == 3, "what failed again has a new dead letter"
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    commands.replay(code=1)
    assert audit(commands)[1] | {"in_view": 3, "dead_lettered": 1} == audit(commands)[1]
    mutate(clickhouse, "DELETE WHERE metric_type = 'a'")
    assert audit(commands, code=1)[1]["missing"] == 2


ODD_ID = "wf/größe#1 '\\\n\0%s\x1b[2J🦀"


@pytest.mark.usefixtures("not_negative")
async def test_any_id_and_labels_come_through_worker_dead_letter_replay_and_audit(
    environment: Environment, start_worker: StartWorker, commands: Commands, clickhouse: Client
) -> None:
    start_worker(EVENT_CLOUDEVENT_LABELS="source")
    labels = {"gen_ai.request.model": "größe", "release": "'\\\0", "attempt": 2}
    document = event(execution_id=ODD_ID, user_id=42, labels=labels, status="failed", metrics={"a": -1, "b": 1})
    upper = event(execution_id=str(UUID(int=0xAB)).upper(), metrics={"a": 1})
    headers = [("ce_specversion", b"1.0"), ("ce_source", b"/agents/x")]
    await produce(environment, encoded(document), encoded(upper), partition=1, headers=headers)
    await wait_for_commit(environment, 2)
    (letter,) = commands.json("dlq", "list")
    assert letter["execution_id"] == ODD_ID
    assert "\x1b" not in commands.run("dlq", "show", letter["place"]).stdout
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    commands.replay()
    stored = {name: text for name, text in labels.items() if isinstance(text, str)}
    stored |= {"status": "failed", "source": "/agents/x"}
    columns = "metric_type, execution_id, user_id, labels"
    rows = clickhouse.execute(f"SELECT {columns} FROM execution_metrics_deduplicated ORDER BY metric_type, user_id")  # noqa: S608
    assert rows == [
        ("a", ODD_ID, "42", stored),
        ("a", str(UUID(int=0xAB)), "u-1", {"source": "/agents/x"}),
        ("b", ODD_ID, "42", stored),
    ]
    assert audit(commands, code=1)[1]["different"] == 3, "the audit reads events by the settings of today"
    commands.environment["EVENT_CLOUDEVENT_LABELS"] = "source"
    findings, sums = audit(commands)
    assert (findings, sums["in_view"]) == ([], 3)
    mutate(clickhouse, "DELETE WHERE metric_type = 'b'")
    (missing,), _ = audit(commands, code=1)
    assert missing["execution_id"] == ODD_ID
    assert "\x1b" not in commands.run("audit").stdout


async def test_group_without_committed_offsets_is_an_error_that_names_it_except_with_to_end(
    environment: Environment, commands: Commands
) -> None:
    await produce(environment, numbered(1), partition=1)
    done = commands.run("audit")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"group {environment['KAFKA_GROUP_ID']} has committed no offset" in done.stderr
    assert "KAFKA_GROUP_ID" in done.stderr
    assert "--to-end" in done.stderr
    assert audit(commands, "--to-end", code=1)[1]["missing"] == 2


def test_audit_of_an_empty_topic_says_that_nothing_was_compared(commands: Commands) -> None:
    done = commands.run("audit")
    assert done.returncode == 0
    assert "no record was compared" in done.stderr


@pytest.mark.any_broker
@pytest.mark.usefixtures("written")
def test_audit_says_when_the_options_leave_no_record_to_compare(commands: Commands) -> None:
    for option, value in (("--partition", "0"), ("--until", "1h")):
        done = commands.run("audit", option, value)
        assert done.returncode == 0
        assert "no record was compared" in done.stderr, option
    assert "no record was compared" not in commands.run("audit").stderr


@pytest.mark.any_broker
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["--from-offset", "7", "--to-offset", "7"], "--from-offset is not before --to-offset"),
    ],
)
def test_contradictory_ranges_are_a_usage_error(commands: Commands, options: list[str], message: str) -> None:
    done = commands.run("audit", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def is_sendable(record: FuzzRecord) -> bool:
    small = sum(len(value or b"") for value in (record.value, record.key, *dict(record.headers).values())) < 500_000
    return record.value is not None and not record.unreadable and small and record.timestamp >= 0


async def test_audit_agrees_with_the_worker_on_hostile_records(
    environment: Environment, start_worker: StartWorker, commands: Commands, clickhouse: Client
) -> None:
    start_worker()
    records = [
        record for record in (make_record(11, ORDINARY + number) for number in range(600)) if is_sendable(record)
    ]
    servers, topic, sent = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], len(records)
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        for record in records:
            await producer.send_and_wait(
                topic, record.value, partition=1, headers=list(record.headers), timestamp_ms=record.timestamp
            )
    await wait_for_commit(environment, sent)
    findings, sums = audit(commands)
    assert (findings, sums["records"]) == ([], sent)
    assert min(sums["in_view"], sums["dead_lettered"]) > 50
    ((rows,),) = clickhouse.execute("SELECT count() FROM execution_metrics_deduplicated")
    assert rows == sums["in_view"]
    clickhouse.execute("TRUNCATE TABLE execution_metrics")
    assert audit(commands, code=1)[1]["missing"] == sums["in_view"] + sums["superseded"]
    assert await count_dead_letters(environment) == sums["dead_lettered"]


@pytest.mark.any_broker
@pytest.mark.usefixtures("written")
async def test_missing_dependency_exits_with_3_and_wrong_usage_with_2(commands: Commands) -> None:
    for changes, error in (
        ({"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}, "KAFKA_BOOTSTRAP_SERVERS"),
        ({"KAFKA_TOPIC": "absent"}, "absent"),
        ({"CLICKHOUSE_PORT": str(free_port())}, "refused"),
        ({"CLICKHOUSE_TABLE": "absent"}, "UNKNOWN_TABLE"),
    ):
        done = commands.run("audit", **changes)
        assert done.returncode == 3
        assert error in done.stderr
    for option, value in (("--partition", "99"), ("--since", "yesterday")):
        assert commands.run("audit", option, value).returncode == 2
