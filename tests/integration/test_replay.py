"""Something fails, is corrected, and is replayed: the commands as processes on real servers."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from deploy.local.process import free_port
from tests.integration.conftest import (
    Environment,
    StartWorker,
    events,
    produce,
    read_dead_letters,
    write_some_blocks,
)
from tests.support.commands import Commands, write_dead_letters, write_pointers
from tests.support.events import JANUARY_2026, encoded, event
from tests.support.events import read as read_event
from tests.support.local import wait_until
from tests.support.tables import migrate
from tests.support.topic import headers_of, read
from worker.clickhouse.connection import ClickHouseTarget
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Failure
from worker.events.decode import decode

VIEW = "SELECT metric_type, metric_value, recorded_at, source_partition, source_offset FROM {} ORDER BY ALL"
OUTAGE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
COMPRESSED: dict[str, Any] = {"max_request_size": 4_000_000, "compression_type": "gzip"}
"""The topic accepts such a record, but not its dead letter, which is not compressed."""
EDGE_VALUES: dict[str, float] = {
    "two53": 2**53 + 1,
    "minus_zero": -0.0,
    "tiny": 5e-324,
    "yes": True,
    "no": False,
    "below": -1.5,
}


def rows_of_view(client: Client, table: str = "execution_metrics_deduplicated") -> list[tuple[Any, ...]]:
    answer: list[tuple[Any, ...]] = client.execute(VIEW.format(table))
    return answer


async def wait_for_dead_letters(environment: Environment, count: int) -> list[Any]:
    found = await read_dead_letters(environment, count)
    assert len(found) == count
    return found


async def test_rows_refused_by_a_constraint_are_replayed_once_it_is_dropped(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, commands: Commands
) -> None:
    clickhouse.execute("ALTER TABLE execution_metrics ADD CONSTRAINT never CHECK metric_type = 'good'")
    worker = start_worker()
    headers = [("trace", b"\xff\x00"), ("dlq.kind", b"a lie"), ("dlq.error.code", b"7")]
    document = event(metrics=EDGE_VALUES | {"good": 1}, completed_at=None)
    await produce(environment, encoded(document), key=b"", headers=headers, partition=1)
    await wait_for_dead_letters(environment, len(EDGE_VALUES))
    (statistics,) = commands.json("dlq", "stats")
    assert (statistics["total"], statistics["by_class"]["top"]) == (6, [{"value": "row_refused", "count": 6}])
    assert statistics["by_code"]["top"] == [{"value": 469, "count": 6}]
    (listed,) = commands.json("dlq", "list", "--metric", "tiny")
    (details,) = commands.json("dlq", "show", listed["place"])
    assert details["source_headers"] == [
        ["trace", {"base64": "/wA="}],
        ["dlq.kind", {"text": "a lie"}],
        ["dlq.error.code", {"text": "7"}],
    ]
    assert json.loads(details["value"]["text"])["metric_value"] == "5e-324"
    assert "Constraint `never`" in details["error_message"]
    assert details["to_do"]

    assert commands.replay("--metric", "tiny", code=1)["classes"]["row_refused"]["failed_again"] == 1
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT never")
    report = commands.replay()
    assert (report["remaining"], report["metrics_written"]) == (0, 6)
    assert commands.count_open() == 0
    assert commands.json("dlq", "list") == []
    assert len(commands.json("dlq", "list", "--settled")) == 7
    assert commands.json("dlq", "show", listed["place"])[0]["settled"]

    # The view is the same as if nothing had failed: another worker writes the same record into another table.
    worker.stop()
    clickhouse.execute("CREATE TABLE execution_metrics_2 AS execution_metrics")
    start_worker(CLICKHOUSE_TABLE="execution_metrics_2", KAFKA_GROUP_ID=environment["KAFKA_GROUP_ID"] + "2")
    wait_until(lambda: len(rows_of_view(clickhouse, "execution_metrics_2")) == 7, "every row once more")
    assert repr(rows_of_view(clickhouse)) == repr(rows_of_view(clickhouse, "execution_metrics_2 FINAL"))
    assert commands.replay()["classes"] == {}, "nothing is left to do"
    assert len(rows_of_view(clickhouse)) == 7


@pytest.mark.any_broker
@pytest.mark.usefixtures("not_negative")
async def test_replay_does_not_undo_a_correction_of_the_same_millisecond(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, commands: Commands
) -> None:
    start_worker()
    wrong, correction = (encoded(event(metrics={"a": value})) for value in (-1, 2))
    await produce(environment, wrong, correction, partition=1, timestamps=[JANUARY_2026] * 2)
    await wait_for_dead_letters(environment, 1)
    wait_until(lambda: len(rows_of_view(clickhouse)) == 1, "the correction")
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    assert commands.replay()["metrics_written"] == 1
    assert [row[:2] for row in rows_of_view(clickhouse)] == [("a", 2.0)]
    (sums,) = commands.json("audit")
    assert (sums["sums"]["in_view"], sums["sums"]["superseded"]) == (1, 1)


@pytest.mark.any_broker
@pytest.mark.parametrize(
    "delete",
    [
        "ALTER TABLE execution_metrics DELETE WHERE 1 SETTINGS mutations_sync = 2",
        "DELETE FROM execution_metrics WHERE 1",
    ],
)
async def test_replay_writes_rows_again_that_were_deleted(
    clickhouse: Client, commands: Commands, outage: int, delete: str
) -> None:
    commands.replay()
    clickhouse.execute(delete)
    assert rows_of_view(clickhouse) == []
    assert commands.replay()["metrics_written"] == 0, "they are settled"
    restored = commands.json("dlq", "restore", "--settled-by", "replayed", "--reason", "deleted by mistake", "--yes")
    assert restored[0]["dead_letters"] == {"store_unavailable": outage}
    assert commands.replay()["metrics_written"] == len(rows_of_view(clickhouse)) == outage


async def test_event_that_an_old_worker_refused_becomes_rows(
    environment: Environment, clickhouse: Client, start_worker: StartWorker, commands: Commands
) -> None:
    source = encoded(event(metrics=EDGE_VALUES | {"nan": float("nan"), "text": "x"}, completed_at=None))
    await produce(environment, source, key=b"\xff", headers=[("trace", b"1")], partition=1)
    (found,) = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], 1)
    refused = Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "an old worker did not know it")
    await write_dead_letters(environment, FailedEvent(found, refused))
    assert commands.json("replay", "--dry-run", code=1)[0]["classes"]["invalid_event"]["failed_again"] == 1
    report = commands.replay(code=1)
    assert (report["metrics_written"], report["classes"]["invalid_event"]["failed_again"]) == (6, 1)
    (left,) = commands.json("dlq", "list")
    assert (left["metric"], left["error_class"], left["replays"]) == ("nan", "invalid_metric", 1)
    replayed = rows_of_view(clickhouse)
    clickhouse.execute("TRUNCATE TABLE execution_metrics")
    start_worker()
    wait_until(lambda: len(rows_of_view(clickhouse)) == 6, "the rows that the worker writes of the event itself")
    assert repr(replayed) == repr(rows_of_view(clickhouse))


async def test_dead_letter_that_fails_again_is_skipped_after_max_replays(
    environment: Environment, start_worker: StartWorker, commands: Commands
) -> None:
    start_worker()
    headers = [("dlq.replays", b"99"), ("k", b"\xfe")]
    await produce(environment, b"\xff garbage \x1b[31m", key=b"", headers=headers, partition=1)
    await produce(environment, encoded(event(metrics={"nan": float("nan"), "inf": float("-inf")})), partition=1)
    await wait_for_dead_letters(environment, 3)
    left = {name: counts["left"] for name, counts in commands.replay(code=1)["classes"].items()}
    assert left == {
        "invalid_event": {"refused again, left alone (--refused): InvalidUTF8": 1},
        "invalid_metric": {"refused again, left alone (--refused): UnrepresentableNumber": 2},
    }
    for replays in (1, 2):
        classes = commands.replay("--refused", "--max-replays", "2", code=1)["classes"]
        failed_again = {name: counts["failed_again"] for name, counts in classes.items()}
        assert failed_again == {"invalid_event": 1, "invalid_metric": 2}
        assert [entry["replays"] for entry in commands.json("dlq", "list")] == [replays] * 3
    classes = commands.replay("--refused", "--max-replays", "2", code=1)["classes"]
    assert {tuple(counts["left"].values()) for counts in classes.values()} == {(1,), (2,)}
    kept = [
        letter for letter in await read_dead_letters(environment, 16) if headers_of(letter)["dlq.kind"] != "settlement"
    ]
    assert len(kept) == 9
    last = kept[-3:]
    assert all(len(letter.headers) <= 20 for letter in last), "headers do not grow with replays"
    garbage = next(letter for letter in last if headers_of(letter)["dlq.kind"] == "event")
    assert (garbage.key, garbage.value, garbage.headers[:2]) == (b"", b"\xff garbage \x1b[31m", tuple(headers))
    assert headers_of(garbage)["dlq.source.offset"] == "0"
    assert "\x1b" not in commands.run("dlq", "show", f"0:{garbage.offset}").stdout


async def test_outage_is_replayed_after_its_end_and_makes_no_new_dead_letters(
    environment: Environment, start_worker: StartWorker, tmp_path: Path, commands: Commands
) -> None:
    with EngineProcess(tmp_path) as engine:
        with engine.client() as client:
            client.execute("CREATE DATABASE metrics")
        migrate(ClickHouseTarget(engine.host, engine.port, "metrics"))
        changes = {
            "CLICKHOUSE_PORT": str(engine.port),
            "CLICKHOUSE_DATABASE": "metrics",
            "RETRY_ATTEMPTS": "2",
            "RETRY_FIRST_WAIT_SECONDS": "0.01",
        }
        worker = start_worker(**changes)
        with engine.client("metrics") as client:
            before = await write_some_blocks(environment, client)
        wait_until(lambda: not worker.readiness(), "it is ready")
        engine.process.kill()
        await produce(environment, *events(10), partition=1)
        await wait_for_dead_letters(environment, 20)
        commands = Commands(environment | changes)
        assert "ClickHouse" in commands.replay("--error-class", "store_unavailable", code=3)["problem"]
        assert commands.count_open() == 20
        engine.start()
        with engine.client("metrics") as client:
            client.execute("RENAME TABLE execution_metrics TO elsewhere")
            assert "UNKNOWN_TABLE" in commands.replay(code=3)["problem"]
            client.execute("RENAME TABLE elsewhere TO execution_metrics")
            assert commands.replay("--error-class", "store_unavailable")["metrics_written"] == 20
            assert client.execute("SELECT count() FROM execution_metrics_deduplicated") == [(before + 20,)]
        assert commands.count_open() == 0


async def test_pointers_are_replayed_from_their_source_records(
    environment: Environment, clickhouse: Client, commands: Commands
) -> None:
    await produce(environment, encoded(event(metrics=EDGE_VALUES, completed_at=None)), b"x", partition=1)
    source, invalid = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], 2)
    found = decode(source)
    assert found is not None
    await write_pointers(environment, FailedMetric(found, "below", -1.5, OUTAGE, 1), FailedEvent(invalid, OUTAGE))
    assert commands.json("dlq", "stats")[0]["by_class"]["top"] == [{"value": "too_large", "count": 2}]
    report = commands.replay("--refused", code=1)["classes"]["too_large"]
    assert (report["written"], report["failed_again"]) == (1, 1), "the invalid event fails again"
    rows = clickhouse.execute("SELECT metric_type, metric_value, source_offset FROM execution_metrics_deduplicated")
    assert rows == [("below", -1.5, 0)]
    assert [entry["replays"] for entry in commands.json("dlq", "list")] == [1]


@pytest.fixture
async def outage(environment: Environment) -> int:
    """Dead letters of 500 events with two metrics each."""
    events = (read_event(event(execution_id=str(UUID(int=n)), metrics={})) for n in range(500))
    failed = [FailedMetric(item, name, 1, OUTAGE, 1) for item in events for name in ("a", "b")]
    await write_dead_letters(environment, *failed)
    return len(failed)


@pytest.mark.any_broker
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_interrupted_replay_is_continued_by_the_next_one(
    commands: Commands, clickhouse: Client, outage: int, number: signal.Signals
) -> None:
    with commands.start("replay", "--yes", "--rate", "200") as process:
        wait_until(lambda: len(rows_of_view(clickhouse)) > 0, "the first rows", timeout_seconds=30)
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == (1 if number is not signal.SIGKILL else -number)
    assert 0 < len(rows_of_view(clickhouse)) < outage
    if number is not signal.SIGKILL:
        report = json.loads(out)
        assert (report["interrupted"], report["remaining"]) == (True, None), "not all were read"
    commands.replay()
    assert len(rows_of_view(clickhouse)) == outage
    assert commands.count_open() == 0
    assert len(commands.json("dlq", "list", "--settled")) == outage, "no replay made a dead letter"


@pytest.mark.any_broker
async def test_two_replays_at_once_beside_a_worker_change_nothing_in_the_view(
    environment: Environment, commands: Commands, clickhouse: Client, start_worker: StartWorker, outage: int
) -> None:
    start_worker()
    await produce(environment, encoded(event(execution_id=str(UUID(int=7)), metrics={"a": 2})), partition=1)
    wait_until(lambda: len(rows_of_view(clickhouse)) == 1, "the newer event")
    both = await asyncio.gather(*(asyncio.to_thread(commands.run, "replay", "--yes") for _ in range(2)))
    assert {one.returncode for one in both} == {0}
    assert commands.replay()["remaining"] == 0
    assert len(rows_of_view(clickhouse)) == outage
    newest = "SELECT metric_value FROM execution_metrics_deduplicated WHERE execution_id = %(id)s AND metric_type = 'a'"
    assert clickhouse.execute(newest, {"id": str(UUID(int=7))}) == [(2.0,)], (
        "an old replay never replaces a newer event"
    )


async def test_filters_and_limit_choose_what_is_replayed(
    environment: Environment, commands: Commands, clickhouse: Client
) -> None:
    for agent in ("one", "two"):
        item = read_event(event(agent_name=agent, metrics={}))
        failed = (FailedMetric(item, name, 1, OUTAGE, 1) for name in ("a", "b", "c"))
        await write_dead_letters(environment, *failed)
    assert len(commands.json("dlq", "list", "--limit", "4")) == 4
    assert commands.replay("--agent", "two", "--metric", "b", "--metric", "c")["metrics_written"] == 2
    assert commands.replay("--partition", "0", "--offset", "0")["metrics_written"] == 1
    assert commands.replay("--limit", "1", code=1)["beyond_limit"] >= 1
    assert commands.replay("--since", "1h", "--error-code", "210")["remaining"] == 0
    assert len(rows_of_view(clickhouse)) == 6
    assert commands.replay("--until", "1h")["classes"] == {}


@pytest.mark.any_broker
def test_replay_needs_consent_and_persistence(commands: Commands) -> None:
    assert commands.run("replay").returncode == 2
    assert commands.run("replay", "--yes", PERSISTENCE_ENABLED="false").returncode == 2


def test_show_of_an_absent_record_is_an_error(commands: Commands) -> None:
    assert commands.run("dlq", "show", "0:7").returncode == 1


@pytest.mark.parametrize(
    "changes", [{"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}, {"KAFKA_DLQ_TOPIC": "absent"}]
)
@pytest.mark.parametrize("command", [("dlq", "stats"), ("replay", "--yes")])
def test_unavailable_dependency_is_the_only_error_printed(
    commands: Commands, command: tuple[str, ...], changes: Environment
) -> None:
    done = commands.run(*command, **changes)
    assert done.returncode == 3
    assert "Unclosed" not in done.stderr
    assert "Traceback" not in done.stderr
    assert ("absent does not exist" if "KAFKA_DLQ_TOPIC" in changes else "cannot be reached") in done.stderr
