"""The refresh of the roll-up on the real engine: the worker reports whether it failed."""

import asyncio
from contextlib import suppress

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from deploy.local.engine_process import EngineProcess
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.roll_up import RollUpMonitor, find_refresh_error
from worker.core.errors import StoreError

RENAME = "ALTER TABLE execution_metrics_per_day_states RENAME COLUMN {} TO {}"


@pytest.fixture
def target(engine: EngineProcess, database: str) -> ClickHouseTarget:
    return ClickHouseTarget(engine.host, engine.port, database)


def refresh(client: Client) -> None:
    client.execute("SYSTEM REFRESH VIEW execution_metrics_per_day_refresh")
    with suppress(ServerException):  # of a refresh that failed
        client.execute("SYSTEM WAIT VIEW execution_metrics_per_day_refresh")


def test_failed_refresh_is_an_error_until_one_succeeds(clickhouse: Client, target: ClickHouseTarget) -> None:
    migrate(target)
    refresh(clickhouse)
    assert find_refresh_error(target) == ""
    clickhouse.execute(RENAME.format("total", "other"))
    refresh(clickhouse)
    assert "No such column total" in (find_refresh_error(target) or "")
    clickhouse.execute(RENAME.format("other", "total"))
    refresh(clickhouse)
    assert find_refresh_error(target) == ""


def test_days_that_a_refresh_may_not_have_seen_are_computed_from_the_rows(
    clickhouse: Client, target: ClickHouseTarget
) -> None:
    migrate(target)
    insert = (
        "INSERT INTO execution_metrics (execution_id, metric_type, completed_at) "
        "SELECT %(id)s, 'm', now64(3, 'UTC') - toIntervalDay(number) FROM numbers(4)"
    )
    age = "dateDiff('day', day, toDate32(now('UTC')))"
    days = f"SELECT {age}, executions FROM execution_metrics_per_day ORDER BY 1"  # noqa: S608 - ours
    clickhouse.execute(insert, {"id": "before"})
    assert clickhouse.execute(days) == [(0, 1), (1, 1), (2, 1), (3, 1)], "before the first refresh"
    refresh(clickhouse)
    clickhouse.execute(insert, {"id": "after"})
    assert clickhouse.execute(days) == [(0, 2), (1, 2), (2, 1), (3, 1)]
    refresh(clickhouse)
    assert clickhouse.execute(days) == [(0, 2), (1, 2), (2, 2), (3, 2)]


def test_view_that_is_not_there_has_no_state(target: ClickHouseTarget) -> None:
    assert find_refresh_error(target) is None


def test_unreachable_server_is_a_store_error() -> None:
    with pytest.raises(StoreError):
        find_refresh_error(ClickHouseTarget("127.0.0.1", 1))


@pytest.mark.parametrize(("port", "state"), [(None, False), (1, None)])
async def test_monitor_reports_the_state_at_once(
    target: ClickHouseTarget, port: int | None, state: bool | None
) -> None:
    migrate(target)
    reported: asyncio.Queue[bool | None] = asyncio.Queue()
    monitor = RollUpMonitor(ClickHouseTarget(target.host, port or target.port, target.database), reported.put_nowait)
    async with asyncio.timeout(30):
        assert await reported.get() is state
    await monitor.close()
