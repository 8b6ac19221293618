"""A worker with two ClickHouse servers: one hangs, then it is killed; the worker neither holds nor loses a metric."""

import asyncio
from pathlib import Path

import httpx
import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from deploy.local.process import LOOPBACK
from tests.integration.conftest import Environment, StartWorker, count_dead_letters, events, produce
from tests.support.local import wait_until
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget
from worker.commands.check import _check_dependencies
from worker.settings.loading import load

pytestmark = pytest.mark.any_broker

_EXECUTIONS = "SELECT DISTINCT execution_id FROM execution_metrics"


async def test_hanging_and_killed_server_is_no_outage(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, tmp_path: Path
) -> None:
    database = environment["CLICKHOUSE_DATABASE"]
    with EngineProcess(tmp_path) as first:
        with first.client() as client:
            client.execute(f"CREATE DATABASE `{database}`")
        migrate(ClickHouseTarget(first.host, first.port, database))
        second = f"{environment['CLICKHOUSE_HOST']}:{environment['CLICKHOUSE_PORT']}"
        first_server = f"{first.host}:{first.port}"
        hosts = {"CLICKHOUSE_HOST": f"{first_server},{second}", "CLICKHOUSE_CONNECT_TIMEOUT_SECONDS": "1"}
        checked = [result for result in await _check_dependencies(load(environment | hosts)) if "Click" in result.what]
        assert [(result.what, result.ok) for result in checked] == [
            ("ClickHouse", True),
            ("ClickHouse", True),
            ("ClickHouse hosts", False),  # each has a table of its own
        ]
        worker = start_worker(**hosts)
        sent = 0
        for damage, used in ((None, first_server), (first.process.pause, second), (first.process.kill, second)):
            if damage:
                damage()
            await produce(environment, *events(100))
            sent += 100
            wait_until(lambda: worker.telemetry()["metrics_worker_events_total"][()] == sent, "written", 60)  # noqa: B023
            in_use = worker.telemetry()["metrics_worker_clickhouse_server_in_use"]
            assert in_use == {(server,): server == used for server in (first_server, second)}
            page = await asyncio.to_thread(httpx.get, f"http://{LOOPBACK}:{worker.http_port}/")
            assert f"ClickHouse</span> {used}</span>" in page.text
        first.start()
        with first.client(database) as client:
            on_first = client.execute(_EXECUTIONS)
        on_second = clickhouse.execute(_EXECUTIONS)
    assert on_first
    assert on_second
    assert len({*on_first, *on_second}) == sent
    assert await count_dead_letters(environment) == 0
    output = worker.process.output()
    assert '"holding"' not in output
    assert "another ClickHouse server is used" in output
