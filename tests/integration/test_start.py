"""A worker starts held: it consumes only when ClickHouse accepts inserts, and the table fits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from clickhouse_driver import Client

from deploy.local.demo.worker_progress import terminate
from deploy.local.engine_process import EngineProcess
from deploy.local.process import free_port
from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import (
    Environment,
    StartWorker,
    committed_offsets,
    count_dead_letters,
    events,
    produce,
    write_some_blocks,
)
from tests.support.local import wait_until
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget


def holds(worker: WorkerProcess, reason: str) -> Callable[[], bool]:
    return lambda: reason in worker.readiness().get("store", "")


def is_ready(worker: WorkerProcess) -> Callable[[], bool]:
    return lambda: not worker.readiness()


@pytest.mark.any_broker
async def test_holds_until_the_table_fits(
    environment: Environment, start_worker: StartWorker, clickhouse: Client
) -> None:
    alter = "ALTER TABLE execution_metrics MODIFY COLUMN metric_value"
    clickhouse.execute(f"{alter} Float32")
    await produce(environment, *events(50))
    worker = start_worker()
    wait_until(holds(worker, "column metric_value is Float32; it should be Float64"), "the reason at /readyz")
    assert set((await committed_offsets(environment)).values()) == {None}
    clickhouse.execute(f"{alter} Float64")
    wait_until(is_ready(worker), "the worker is ready", timeout_seconds=40)
    count = "SELECT count() FROM execution_metrics"
    wait_until(lambda: clickhouse.execute(count) == [(100,)], "the rows of the waiting events")
    assert await count_dead_letters(environment) == 0


async def test_sigterm_while_holding_exits_0_and_commits_nothing(
    environment: Environment, start_worker: StartWorker
) -> None:
    await produce(environment, *events(50))
    worker = start_worker(CLICKHOUSE_PORT=str(free_port()))
    wait_until(holds(worker, "Connection refused"), "the reason at /readyz")
    assert terminate(worker) == 0
    assert set((await committed_offsets(environment)).values()) == {None}


@pytest.mark.any_broker
async def test_worker_is_not_ready_when_an_insert_fails_for_ten_seconds_within_its_budget(
    environment: Environment, start_worker: StartWorker, tmp_path: Path
) -> None:
    engine = EngineProcess(tmp_path)
    engine.start()
    with engine.client() as client:
        client.execute("CREATE DATABASE metrics")
    migrate(ClickHouseTarget(engine.host, engine.port, "metrics"))
    worker = start_worker(
        CLICKHOUSE_PORT=str(engine.port),
        CLICKHOUSE_DATABASE="metrics",
        RETRY_ATTEMPTS="1000",
        RETRY_MAX_SECONDS="600",
        RETRY_MAX_WAIT_SECONDS="0.5",
    )
    with engine.client("metrics") as client:
        await write_some_blocks(environment, client)
    engine.kill()
    await produce(environment, *events(5))
    wait_until(holds(worker, "an INSERT has been failing for"), "the reason at /readyz", timeout_seconds=30)
    engine.start()
    wait_until(is_ready(worker), "the worker is ready", timeout_seconds=30)
    engine.stop()
