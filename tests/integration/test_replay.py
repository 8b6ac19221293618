"""Break, look, mend, replay: dead letters as whoever is on call meets them, with processes on real servers."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from deploy.local.environment import environment_without_settings
from deploy.local.process import free_port
from tests.integration.conftest import StartWorker, write_some_blocks
from tests.support.events import encoded, event, record
from tests.support.events import read as read_event
from tests.support.local import wait_until
from tests.support.tables import migrate
from tests.support.topic import committed, headers_of, read, send, size
from worker.clickhouse.connection import ClickHouseTarget
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure, RecordPosition, ReplayedRecord
from worker.dead_letters.dead_letter import WorkerInfo
from worker.kafka.connection import KafkaTarget, open_producer
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink

Environment = dict[str, str]
Json = dict[str, Any]
VIEW = "SELECT metric_type, metric_value, recorded_at, source_partition, source_offset FROM {} ORDER BY ALL"


class Commands:
    """Runs the worker's commands on the test's stack."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment_without_settings() | self.environment | changes,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *arguments],
            env=environment_without_settings() | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def json(self, *arguments: str, code: int = 0, **changes: str) -> list[Json]:
        done = self.run(*arguments, **changes)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def replay(self, *arguments: str, code: int = 0, **changes: str) -> Json:
        (report,) = self.json("replay", "--yes", *arguments, code=code, **changes)
        return report


@pytest.fixture
def commands(environment: Environment) -> Commands:
    return Commands(environment)


def rows_of_view(client: Client, table: str = "execution_metrics_deduplicated") -> list[tuple[Any, ...]]:
    answer: list[tuple[Any, ...]] = client.execute(VIEW.format(table))
    return answer


async def put(environment: Environment, *values: bytes | None, **options: Any) -> None:
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], values, partition=1, **options)


async def letters(environment: Environment) -> list[Any]:
    servers, topic = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"]
    return await read(servers, topic, await size(servers, topic))


async def dead(environment: Environment, count: int) -> None:
    """Wait for so many dead letters."""
    found = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], count)
    assert len(found) == count


COMPRESSED: dict[str, Any] = {"max_request_size": 4_000_000, "compression_type": "gzip"}
"""So that a topic takes a record whose dead letter, which is not compressed, it does not take."""
ODD: dict[str, float] = {
    "two53": 2**53 + 1,
    "minus_zero": -0.0,
    "tiny": 5e-324,
    "yes": True,
    "no": False,
    "below": -1.5,
}


async def test_row_refused_by_a_constraint_that_is_dropped(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, commands: Commands
) -> None:
    clickhouse.execute("ALTER TABLE execution_metrics ADD CONSTRAINT never CHECK metric_type = 'good'")
    worker = start_worker()
    metrics = ODD | {"good": 1}
    headers = [("trace", b"\xff\x00"), ("dlq.kind", b"a lie"), ("dlq.error.code", b"7")]
    await put(environment, encoded(event(metrics=metrics, completed_at=None)), key=b"", headers=headers)
    await dead(environment, len(ODD))
    (statistics,) = commands.json("dlq", "stats")
    assert (statistics["total"], statistics["by_class"]["top"]) == (6, [{"value": "row_refused", "count": 6}])
    assert statistics["by_code"]["top"] == [{"value": 469, "count": 6}]
    assert {entry["place"] for entry in commands.json("dlq", "list", "--metric", "tiny")} <= {
        f"0:{n}" for n in range(6)
    }
    (shown_letter,) = commands.json("dlq", "show", commands.json("dlq", "list", "--metric", "tiny")[0]["place"])
    assert shown_letter["source_headers"] == [
        ["trace", {"base64": "/wA="}],
        ["dlq.kind", {"text": "a lie"}],
        ["dlq.error.code", {"text": "7"}],
    ]
    assert json.loads(shown_letter["value"]["text"])["metric_value"] == "5e-324"
    assert "Constraint `never`" in shown_letter["error_message"]
    assert shown_letter["to_do"]

    assert commands.replay("--metric", "tiny", code=1)["classes"]["row_refused"]["failed_again"] == 1
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT never")
    report = commands.replay()
    assert (report["remaining"], report["metrics_written"]) == (0, 6)
    assert [entry["total"] for entry in commands.json("dlq", "stats")] == [0]

    # Had nothing failed, the view would be the same: another worker, another table, the same record.
    worker.stop()
    clickhouse.execute("CREATE TABLE execution_metrics_2 AS execution_metrics")
    start_worker(CLICKHOUSE_TABLE="execution_metrics_2", KAFKA_GROUP_ID=environment["KAFKA_GROUP_ID"] + "2")
    wait_until(lambda: len(rows_of_view(clickhouse, "execution_metrics_2")) == 7, "every row once more")
    assert repr(rows_of_view(clickhouse)) == repr(rows_of_view(clickhouse, "execution_metrics_2 FINAL"))
    # And again: nothing to do, nothing changes.
    assert commands.replay()["classes"] == {}
    assert len(rows_of_view(clickhouse)) == 7


async def test_an_event_that_an_old_worker_refused_becomes_rows(
    environment: Environment, clickhouse: Client, start_worker: StartWorker, commands: Commands
) -> None:
    source = encoded(event(metrics=ODD | {"nan": float("nan"), "text": "x"}, completed_at=None))
    await put(environment, source, key=b"\xff", headers=[("trace", b"1")])
    (found,) = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], 1)
    refused = Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "an old worker did not know it")
    await bury(environment, FailedEvent(found, refused))
    assert commands.json("replay", "--dry-run", code=1)[0]["classes"]["invalid_event"]["failed_again"] == 1
    report = commands.replay(code=1)
    assert (report["metrics_written"], report["classes"]["invalid_event"]["failed_again"]) == (6, 1)
    # All of it but the NaN, which is a dead letter of its own now.
    (left,) = commands.json("dlq", "list")
    assert (left["metric"], left["error_class"], left["replays"]) == ("nan", "invalid_metric", 1)
    replayed = rows_of_view(clickhouse)
    clickhouse.execute("TRUNCATE TABLE execution_metrics")
    start_worker()
    wait_until(lambda: len(rows_of_view(clickhouse)) == 6, "what the worker makes of the event itself")
    assert repr(replayed) == repr(rows_of_view(clickhouse))


async def test_what_is_wrong_stays_a_letter_and_is_left_alone_in_the_end(
    environment: Environment, start_worker: StartWorker, commands: Commands
) -> None:
    start_worker()
    headers = [("dlq.replays", b"99"), ("k", b"\xfe")]
    await put(environment, b"\xff garbage \x1b[31m", key=b"", headers=headers)
    await put(environment, encoded(event(metrics={"nan": float("nan"), "inf": float("-inf")})))
    await dead(environment, 3)
    for number in range(1, 3):
        report = commands.replay("--max-replays", "2", code=1)
        assert {name: entry["failed_again"] for name, entry in report["classes"].items()} == {
            "invalid_event": 1,
            "invalid_metric": 2,
        }
        assert [entry["replays"] for entry in commands.json("dlq", "list")] == [number] * 3
    report = commands.replay("--max-replays", "2", code=1)
    assert {tuple(entry["left"].values()) for entry in report["classes"].values()} == {(1,), (2,)}
    last = (await letters(environment))[-3:]
    assert all(len(letter.headers) <= 20 for letter in last)
    garbage = next(letter for letter in last if headers_of(letter)["dlq.kind"] == "event")
    assert (garbage.key, garbage.value, garbage.headers[:2]) == (b"", b"\xff garbage \x1b[31m", tuple(headers))
    assert headers_of(garbage)["dlq.source.offset"] == "0"
    assert "\x1b" not in commands.run("dlq", "show", f"0:{garbage.offset}").stdout


async def test_an_outage_is_replayed_when_it_is_over_and_makes_no_letters_meanwhile(
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
        await put(environment, *(encoded(event(execution_id=str(UUID(int=n)))) for n in range(10)))
        await dead(environment, 20)
        away = Commands(environment | changes)
        report = away.replay("--error-class", "store_unavailable", code=3)
        assert "ClickHouse" in report["problem"]
        assert await size(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"]) == 20
        engine.start()
        with engine.client("metrics") as client:
            client.execute("RENAME TABLE execution_metrics TO elsewhere")
            assert "UNKNOWN_TABLE" in away.replay(code=3)["problem"]
            client.execute("RENAME TABLE elsewhere TO execution_metrics")
            assert away.replay("--error-class", "store_unavailable")["metrics_written"] == 20
            assert client.execute("SELECT count() FROM execution_metrics_deduplicated") == [(before + 20,)]
        assert commands.json("dlq", "stats")[0]["total"] == 0


async def test_too_large_letters_are_fetched_from_their_source(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, commands: Commands
) -> None:
    clickhouse.execute("ALTER TABLE execution_metrics ADD CONSTRAINT never CHECK metric_type != 'below'")
    start_worker()
    large = {"user_id": "u" * 1_100_000, "completed_at": None}
    await put(environment, encoded(event(metrics=ODD, **large)), key=b"k", **COMPRESSED)
    await put(environment, b"x" * 1_500_000, **COMPRESSED)
    await dead(environment, 2)
    assert commands.json("dlq", "stats")[0]["by_class"]["top"] == [{"value": "too_large", "count": 2}]
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT never")
    report = commands.replay(code=1)["classes"]["too_large"]
    assert (report["written"], report["failed_again"]) == (1, 1), "the one that is no event stays one"
    rows = clickhouse.execute(
        "SELECT metric_value, length(user_id), source_offset FROM execution_metrics_deduplicated"
        " WHERE metric_type = 'below'"
    )
    assert rows == [(-1.5, 1_100_000, 0)]
    assert [entry["replays"] for entry in commands.json("dlq", "list")] == [1]


async def test_a_pointer_to_what_is_gone_is_left_and_reported(environment: Environment, commands: Commands) -> None:
    source = record(b"x" * 1_500_000, offset=5)
    await bury(environment, FailedEvent(source, Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "no")))
    report = commands.replay(code=1)["classes"]["too_large"]
    assert report["left"] == {"the source record is gone, or cannot be read": 1}
    assert commands.json("dlq", "stats")[0]["total"] == 1


class TestInterrupted:
    @pytest.fixture
    async def buried(self, environment: Environment) -> int:
        failure = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
        events = (read_event(event(execution_id=str(UUID(int=n)), metrics={})) for n in range(500))
        await bury(environment, *(FailedMetric(item, name, 1, failure, 1) for item in events for name in ("a", "b")))
        return 1_000

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    async def test_anywhere_it_goes_on(
        self, environment: Environment, commands: Commands, clickhouse: Client, buried: int, number: signal.Signals
    ) -> None:
        with commands.start("replay", "--yes", "--rate", "200") as process:
            wait_until(lambda: len(rows_of_view(clickhouse)) > 0, "the first rows", timeout_seconds=30)
            process.send_signal(number)
            out, _ = process.communicate(timeout=30)
        assert process.returncode == (1 if number is not signal.SIGKILL else -number)
        before = len(rows_of_view(clickhouse))
        assert 0 < before < buried
        if number is not signal.SIGKILL:
            report = json.loads(out)
            assert (report["interrupted"], report["remaining"]) == (True, buried - report["metrics_written"])
        commands.replay()
        assert len(rows_of_view(clickhouse)) == buried
        assert commands.json("dlq", "stats")[0]["total"] == 0
        servers, topic = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"]
        assert await committed(servers, topic, environment["KAFKA_GROUP_ID"] + ".replay", 1) == {0: buried}
        assert await size(servers, topic) == buried, "no replay made a dead letter"

    async def test_two_at_once_beside_a_worker_change_nothing(
        self,
        environment: Environment,
        commands: Commands,
        clickhouse: Client,
        start_worker: StartWorker,
        buried: int,
    ) -> None:
        start_worker()
        await put(environment, encoded(event(execution_id=str(UUID(int=7)), metrics={"a": 2})))
        wait_until(lambda: len(rows_of_view(clickhouse)) == 1, "the newer event")
        both = await asyncio.gather(*(asyncio.to_thread(commands.run, "replay", "--yes") for _ in range(2)))
        # 1 where the other has taken what this one had counted: it cannot know that nothing is left.
        assert {one.returncode for one in both} <= {0, 1}
        assert commands.replay()["remaining"] == 0
        assert len(rows_of_view(clickhouse)) == buried
        newest = (
            "SELECT metric_value FROM execution_metrics_deduplicated WHERE execution_id = %(id)s AND metric_type = 'a'"
        )
        assert clickhouse.execute(newest, {"id": UUID(int=7)}) == [(2.0,)], "an old replay never beats a newer event"


class TestCommands:
    async def test_filters_and_limits(self, environment: Environment, commands: Commands, clickhouse: Client) -> None:
        failure = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
        for agent in ("one", "two"):
            item = read_event(event(agent_name=agent, metrics={}))
            await bury(environment, *(FailedMetric(item, name, 1, failure, 1) for name in ("a", "b", "c")))
        assert len(commands.json("dlq", "list", "--limit", "4")) == 4
        assert commands.replay("--agent", "two", "--metric", "b", "--metric", "c")["metrics_written"] == 2
        assert commands.replay("--partition", "0", "--offset", "0")["metrics_written"] == 1
        assert commands.replay("--limit", "1", code=1)["beyond_limit"] >= 1
        assert commands.replay("--since", "1h", "--error-code", "210")["remaining"] == 0
        assert len(rows_of_view(clickhouse)) == 6
        assert commands.replay("--until", "1h")["classes"] == {}

    def test_what_cannot_be_asked_is_wrong_usage(self, commands: Commands) -> None:
        assert commands.run("replay").returncode == 2
        assert commands.run("replay", "--yes", "--offset", "1").returncode == 2
        assert commands.run("replay", "--yes", PERSISTENCE_ENABLED="false").returncode == 2
        assert commands.run("dlq", "show", "1").returncode == 2
        assert commands.run("dlq", "show", "0:7").returncode == 1
        assert commands.run("dlq", "list", "--since", "yesterday").returncode == 2
        assert commands.run("dlq", "list", "--since", "1h", "--until", "2h").returncode == 2

    @pytest.mark.parametrize(
        "changes", [{"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}, {"KAFKA_DLQ_TOPIC": "absent"}]
    )
    @pytest.mark.parametrize("command", [("dlq", "stats"), ("replay", "--yes")])
    def test_what_is_away_is_the_last_word(
        self, commands: Commands, command: tuple[str, ...], changes: Environment
    ) -> None:
        done = commands.run(*command, **changes)
        assert done.returncode == 3
        assert "Unclosed" not in done.stderr
        assert "Traceback" not in done.stderr
        assert ("absent does not exist" if "KAFKA_DLQ_TOPIC" in changes else "cannot be reached") in done.stderr

    async def test_what_is_listed_is_what_is_counted(self, environment: Environment, commands: Commands) -> None:
        """A replay that was killed has written the new letter and not its progress."""
        failure = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
        old = FailedMetric(read_event(event()), "m", 1, failure, 1)
        of = old.event.record
        again = ReplayedRecord(
            of.topic, of.partition, of.offset, of.timestamp, of.key, None, (), 1, 1, RecordPosition(0, 0), whole=False
        )
        await bury(environment, old)
        await bury(environment, old._replace(event=old.event._replace(record=again)))
        assert commands.json("dlq", "stats")[0]["total"] == 1
        assert [letter["place"] for letter in commands.json("dlq", "list")] == ["0:1"]
        assert len(commands.json("dlq", "list", "--settled")) == 2
        assert [commands.json("dlq", "show", place)[0]["settled"] for place in ("0:0", "0:1")] == [True, False]

    async def test_records_of_others_are_reported(self, environment: Environment, commands: Commands) -> None:
        await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], [b"\x1b]0;title\x07"])
        assert commands.json("dlq", "stats")[0]["foreign"] == 1
        assert commands.json("dlq", "show", "0:0")[0]["foreign"] == "it has no header dlq.kind"
        assert commands.replay(code=1)["foreign"] == 1
        assert commands.replay("--error-class", "store_unavailable")["remaining"] == 0


async def bury(environment: Environment, *failed: Failed) -> None:
    """Write dead letters as the worker does."""
    head = WorkerInfo("0.0.1", f"{environment['CLICKHOUSE_DATABASE']}.execution_metrics")
    async with open_producer(KafkaTarget(environment["KAFKA_BOOTSTRAP_SERVERS"]), idempotent=False) as producer:
        topic = KafkaDeadLetterSink(producer, environment["KAFKA_DLQ_TOPIC"], head, timeout_seconds=10.0)
        await topic.write(failed)
