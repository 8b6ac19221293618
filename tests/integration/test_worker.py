"""The worker as a process, between a real broker and the real engine."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from clickhouse_driver import Client

from deploy.local.broker import KafkaServer
from deploy.local.demo.worker_progress import terminate
from deploy.local.engine_process import EngineProcess
from deploy.local.environment import environment_without_settings
from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import (
    Environment,
    StartWorker,
    committed_offsets,
    count_dead_letters,
    events,
    produce,
    read_dead_letters,
    write_some_blocks,
)
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.tables import migrate
from tests.support.topic import headers_of
from worker.clickhouse.connection import ClickHouseTarget


def rows(client: Client) -> tuple[int, int]:
    """Rows of the table, and different (execution, metric) among them."""
    ((count, different),) = client.execute(
        "SELECT count(), uniqExact(execution_id, metric_type) FROM execution_metrics"
    )
    return count, different


def wait_for_rows(client: Client, count: int, timeout_seconds: float = 15) -> None:
    wait_until(lambda: rows(client)[1] >= count, f"{count} rows", timeout_seconds)


@pytest.mark.usefixtures("not_negative")
async def test_refused_metric_among_twelve_is_the_only_dead_letter(
    environment: Environment, start_worker: StartWorker, clickhouse: Client
) -> None:
    metrics = {f"metric_{number}": number for number in range(11)} | {"invalid": -1}
    start_worker()
    await produce(environment, encoded(event(metrics=metrics)), key=b"the key", headers=[("trace", b"abc")])
    (letter,) = await read_dead_letters(environment, 1)
    expected_headers = {
        "dlq.error.code": "469",
        "dlq.error.type": "VIOLATED_CONSTRAINT",
        "dlq.error.class": "row_refused",
        "dlq.table": f"{environment['CLICKHOUSE_DATABASE']}.execution_metrics",
        "dlq.metric": "invalid",
        "trace": "abc",
    }
    assert headers_of(letter).items() >= expected_headers.items()
    assert letter.key == b"the key"
    assert json.loads(letter.value)["metric_value"] == "-1"
    wait_for_rows(clickhouse, 11)
    written = clickhouse.execute("SELECT metric_type, metric_value FROM execution_metrics")
    assert dict(written) == {name: float(value) for name, value in metrics.items() if name != "invalid"}


async def test_sigterm_commits_written_batches_and_exits_0(
    environment: Environment, start_worker: StartWorker, clickhouse: Client
) -> None:
    worker = start_worker()
    await produce(environment, *events(200))
    wait_for_rows(clickhouse, 400)
    assert terminate(worker) == 0
    assert sum(offset or 0 for offset in (await committed_offsets(environment)).values()) == 200


@pytest.mark.any_broker
@pytest.mark.parametrize(
    "delete",
    [
        "ALTER TABLE execution_metrics DELETE WHERE 1 SETTINGS mutations_sync = 2",
        "DELETE FROM execution_metrics WHERE 1",
    ],
)
async def test_rows_that_were_deleted_are_written_again_after_a_reset_of_offsets(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, delete: str
) -> None:
    """The same records in one partition are the same blocks, whose tokens ClickHouse still knows."""
    await produce(environment, *events(50), partition=0)
    worker = start_worker()
    wait_for_rows(clickhouse, 100)
    assert terminate(worker) == 0
    clickhouse.execute(delete)
    assert rows(clickhouse) == (0, 0)
    # A new group begins at the first record, as this one would after a reset of its offsets.
    start_worker(KAFKA_GROUP_ID=environment["KAFKA_GROUP_ID"] + "2")
    wait_for_rows(clickhouse, 100)
    assert rows(clickhouse) == (100, 100)


def test_sigterm_while_starting_exits_0(
    environment: Environment, new_broker: Callable[[Path], KafkaServer], tmp_path: Path
) -> None:
    with new_broker(tmp_path) as broker:
        broker.process.pause()
        variables = environment_without_settings() | environment | {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
        command = [sys.executable, "-m", "worker", "run"]
        with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
            assert process.stderr is not None
            assert "worker starts" in process.stderr.readline()
            process.terminate()
            _, log = process.communicate(timeout=5)
        broker.process.resume()
    assert (process.returncode, "stop requested while starting" in log) == (0, True)


@pytest.mark.parametrize(("policy", "dead"), [("dead_letter", 20), ("hold", 0)])
async def test_missing_table_dead_letters_nothing_and_an_outage_only_what_was_in_flight(
    environment: Environment, start_worker: StartWorker, tmp_path: Path, policy: str, dead: int
) -> None:
    with EngineProcess(tmp_path) as engine:
        with engine.client() as client:
            client.execute("CREATE DATABASE metrics")
        changes = {"CLICKHOUSE_PORT": str(engine.port), "CLICKHOUSE_DATABASE": "metrics"}
        worker = start_worker(**changes, ON_UNAVAILABLE=policy, RETRY_ATTEMPTS="3", RETRY_FIRST_WAIT_SECONDS="0.01")
        wait_until(lambda: "UNKNOWN_TABLE" in worker.readiness().get("store", ""), "it waits for the migration")
        assert worker.telemetry()["metrics_worker_holding"][("store",)] == 1
        migrate(ClickHouseTarget(engine.host, engine.port, "metrics"))
        with engine.client("metrics") as client:
            before = await write_some_blocks(environment, client)
            wait_until(lambda: not worker.readiness(), "it is ready")
            assert worker.process.output().count('"holding"') == 1
            engine.process.kill()
            await produce(environment, *events(10))
            wait_until(lambda: "store" in worker.readiness(), "it holds", timeout_seconds=30)
            await produce(environment, *events(500))
            engine.start()
            client.disconnect()
            wait_for_rows(client, before + 20 - dead + 1_000, 60)
        assert await count_dead_letters(environment) == dead


def fetch(worker: WorkerProcess, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{worker.http_port}/{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


async def test_persistence_disabled_counts_and_writes_nothing(
    environment: Environment, start_worker: StartWorker, clickhouse: Client
) -> None:
    worker = start_worker(PERSISTENCE_ENABLED="false")
    await produce(environment, *events(20), b"garbage")
    wait_until(lambda: worker.telemetry()["metrics_worker_events_total"][()] == 20, "every event counted")
    wait_until(lambda: not worker.readiness(), "it is ready")
    assert worker.telemetry()["metrics_worker_rows_written_total"][()] == 0
    for path in ("", "readyz"):
        assert "PERSISTENCE_ENABLED is false" in fetch(worker, path)
    assert terminate(worker) == 0
    assert rows(clickhouse) == (0, 0)
    assert await count_dead_letters(environment) == 0


async def test_events_of_the_time_without_persistence_are_written_when_it_is_enabled(
    environment: Environment, start_worker: StartWorker, clickhouse: Client
) -> None:
    worker = start_worker(PERSISTENCE_ENABLED="false")
    await produce(environment, *events(20))
    wait_until(lambda: worker.telemetry()["metrics_worker_events_total"][()] == 20, "every event counted")
    assert terminate(worker) == 0
    start_worker()
    wait_for_rows(clickhouse, 40)
