"""The commands as processes: their output and their exit codes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clickhouse_driver import Client

from deploy.local.process import free_port
from tests.integration.conftest import Environment
from tests.support.commands import Commands
from tests.support.topic import read, size

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(commands: Commands) -> Run:
    """Runs a command of the worker; keyword arguments are set in its environment."""
    return commands.run_in_new_python


# check


def test_check_prints_a_line_for_each_dependency(run: Run) -> None:
    done = run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 5


@pytest.mark.any_broker
def test_check_without_persistence_says_so_and_needs_no_clickhouse(run: Run) -> None:
    done = run("check", PERSISTENCE_ENABLED="false", CLICKHOUSE_HOST="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    persistence         PERSISTENCE_ENABLED is false" in done.stdout


def test_check_fails_only_for_missing_dependencies(run: Run) -> None:
    done = run("check", "--json", KAFKA_DLQ_TOPIC="absent", CLICKHOUSE_PORT=str(free_port()))
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3
    assert {result["what"]: result["ok"] for result in results} == {
        "configuration": True,
        "topic": True,
        "dead-letter topic": False,
        "consumer group": True,
        "ClickHouse": False,
    }


@pytest.mark.any_broker
def test_check_warns_of_an_empty_password_file_and_of_a_password_without_tls(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "password"
    empty.touch()
    files = {"KAFKA_SASL_PASSWORD_FILE": str(empty)}
    done = run("check", CLICKHOUSE_HOST="host.invalid", CLICKHOUSE_PASSWORD="hunter2", **files)  # noqa: S106
    first, second = done.stderr.splitlines()
    assert first == f"warning: KAFKA_SASL_PASSWORD_FILE='{empty}' is empty: KAFKA_SASL_PASSWORD counts as not set"
    assert second.startswith("warning: CLICKHOUSE_SECURE=false: the connections to ClickHouse are not encrypted")
    assert "hunter2" not in done.stderr


@pytest.mark.any_broker
def test_unreachable_servers_are_only_rows_of_the_check_with_their_variables(run: Run) -> None:
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "CLICKHOUSE_PORT": str(free_port())}
    done = run("check", **away)
    assert (done.returncode, done.stderr) == (3, "")
    by_service = {line[6:24].strip(): line for line in done.stdout.splitlines()}
    assert len(by_service) == 5
    assert "127.0.0.1:1: " in by_service["topic"]
    assert "KAFKA_BOOTSTRAP_SERVERS" in by_service["topic"]
    assert "see CLICKHOUSE_HOST and CLICKHOUSE_PORT" in by_service["ClickHouse"]
    assert "Unable connect" in run("check", LOG_LEVEL="DEBUG", **away).stderr


@pytest.mark.any_broker
def test_wrong_variable_is_named_without_its_secret(run: Run) -> None:
    done = run("check", CLICKHOUSE_PORT="tcp://10.0.0.1:9000", CLICKHOUSE_PASSWORD="hunter2")  # noqa: S106
    assert (done.returncode, done.stdout) == (2, "")
    assert "CLICKHOUSE_PORT" in done.stderr
    assert "enableServiceLinks" in done.stderr
    assert "hunter2" not in done.stderr


# run


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("KAFKA_TOPIC", "absent", "topic absent does not exist"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS"),
    ],
)
def test_worker_does_not_start_without_kafka_or_its_topic(run: Run, variable: str, value: str, message: str) -> None:
    done = run("run", **{variable: value})
    assert done.returncode == 3
    last = [json.loads(line) for line in done.stderr.splitlines()][-1]
    assert (last["level"], last["event"]) == ("critical", "a dependency is unreachable or not prepared")
    assert message in last["error"]


@pytest.mark.any_broker
@pytest.mark.parametrize("command", [["run"], ["dlq", "watch"]])
def test_wrong_variables_of_a_service_are_a_log_line(run: Run, command: list[str]) -> None:
    wrong = {"CLICKHOUSE_PORT": "none", "BATCH_LINGER_MS": "-1", "CLICKHOUSE_DB": "x"}
    done = run(*command, **wrong)
    assert (done.returncode, done.stdout) == (2, "")
    warning, error = map(json.loads, done.stderr.splitlines())
    assert (warning["level"], warning["event"]) == (
        "warning",
        "CLICKHOUSE_DB is not known; did you mean CLICKHOUSE_TABLE or CLICKHOUSE_DATABASE?",
    )
    assert [line.partition("=")[0] for line in error["errors"]] == ["CLICKHOUSE_PORT", "BATCH_LINGER_MS"]
    console = run(*command, LOG_FORMAT="console", **wrong).stderr
    assert "[critical ] the configuration is wrong" in console


def test_bug_that_ends_a_service_is_a_log_line_with_its_traceback() -> None:
    program = (
        "from worker.commands.service import log_fatal_errors\nwith log_fatal_errors():\n    raise ZeroDivisionError"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, line["level"], line["event"]) == (1, "critical", "the program has failed")
    assert "ZeroDivisionError" in line["exception"]


@pytest.mark.any_broker
def test_run_warns_of_a_password_without_tls_at_the_start(run: Run) -> None:
    done = run("run", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", CLICKHOUSE_HOST="host.invalid", CLICKHOUSE_PASSWORD="x")  # noqa: S106
    first = json.loads(done.stderr.splitlines()[0])
    assert first["level"] == "warning"
    assert first["event"].startswith("CLICKHOUSE_SECURE=false: ")


# migrate


@pytest.mark.any_broker
def test_migrate_creates_tables_once(run: Run, clickhouse: Client) -> None:
    clickhouse.execute("DROP TABLE execution_metrics_migrations")
    assert "applied 0001_execution_metrics.sql" in run("migrate").stderr
    assert run("migrate").stderr.strip() == "nothing to apply"


@pytest.mark.any_broker
def test_migrate_status_and_dry_run_show_pending_migrations(run: Run, clickhouse: Client) -> None:
    done = run("migrate", "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0001_execution_metrics.sql  applied" in done.stdout.splitlines()
    clickhouse.execute(
        "ALTER TABLE execution_metrics_migrations DELETE WHERE name > '0002' SETTINGS mutations_sync = 2"
    )
    done = run("migrate", "status", "--json")
    states = {line["migration"]: line["state"] for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert (states["0001_execution_metrics.sql"], states["0002_views.sql"]) == ("applied", "pending")
    done = run("migrate", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "CREATE OR REPLACE VIEW execution_metrics_per_minute" in done.stdout


@pytest.mark.any_broker
def test_migrate_applies_retention(run: Run) -> None:
    done = run("migrate", CLICKHOUSE_RETENTION_DAYS="30")
    assert done.returncode == 0
    assert "applied retention: rows are kept 30 days" in done.stderr


@pytest.mark.any_broker
def test_migrate_exits_with_3_without_clickhouse(run: Run) -> None:
    assert run("migrate", CLICKHOUSE_PORT=str(free_port())).returncode == 3


@pytest.mark.any_broker
def test_migrate_refuses_a_changed_file(run: Run, clickhouse: Client) -> None:
    clickhouse.execute("TRUNCATE TABLE execution_metrics_migrations")
    clickhouse.execute(
        "INSERT INTO execution_metrics_migrations (name, checksum) VALUES", [("0001_execution_metrics.sql", "other")]
    )
    done = run("migrate")
    assert done.returncode == 2
    assert "0001_execution_metrics.sql was changed after it was applied" in done.stderr
    assert run("migrate", "status").returncode == 2


# produce and exec


async def test_produce_sends_lines_byte_for_byte_and_names_those_too_large(
    run: Run, environment: Environment, tmp_path: Path
) -> None:
    lines = [b'{"execution_id": "%d", "metrics": {"x": NaN}}' % number for number in range(3_000)] + [b"\xff not JSON"]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([*lines, b"", b"x" * 2**21]))
    done = run("produce", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert "3001 records acknowledged" in done.stderr
    assert "too large for the topic and not sent: line 3003" in done.stderr
    records = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], len(lines))
    keys = {record.value: record.key for record in records}
    assert keys == {**{line: str(number).encode() for number, line in enumerate(lines)}, lines[-1]: None}


async def test_exec_sends_the_event_and_exits_with_the_code_of_the_command(run: Run, environment: Environment) -> None:
    done = run("exec", "--user", "u-7", "--", sys.executable, "-c", "print('out'); raise SystemExit(3)")
    assert (done.returncode, done.stdout) == (3, "out\n")
    (record,) = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], 1)
    event = json.loads(record.value)
    assert record.key == event["execution_id"].encode()
    assert event["user_id"] == "u-7"
    assert event["metrics"]["result_success"] is False
    assert event["metrics"]["execution_time_ms"] > 0


@pytest.mark.any_broker
def test_exec_runs_the_command_and_prints_the_event_without_kafka(run: Run) -> None:
    done = run("exec", "--", "sh", "-c", "exit 5", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert done.returncode == 5
    assert "not emitted" in done.stderr
    assert '"exit_code": 5' in done.stderr


@pytest.mark.any_broker
@pytest.mark.parametrize(
    "changes",
    [{"BATCH_MAX_EVENTS": "0"}, {"CLICKHOUSE_PASSWORD_FILE": "/absent"}, {"KAFKA_TOPIC": "a topic"}],
    ids=["not read by exec", "missing secret file", "read by exec"],
)
async def test_exec_runs_the_command_and_prints_the_event_with_a_wrong_setting(
    run: Run, environment: Environment, changes: dict[str, str]
) -> None:
    done = run("exec", "--", "sh", "-c", "echo out; exit 5", **changes)
    assert (done.returncode, done.stdout) == (5, "out\n")
    assert "the event was not emitted: " in done.stderr
    assert next(iter(changes)) in done.stderr
    assert '"exit_code": 5' in done.stderr
    assert await size(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"]) == 0
