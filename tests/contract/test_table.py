"""What the table does with rows that expire or are deleted."""

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import Migrations

INSERT = "INSERT INTO execution_metrics (execution_id, agent_name, user_id, metric_type, completed_at, version) "
DELETIONS = [
    "ALTER TABLE execution_metrics DELETE WHERE {} SETTINGS mutations_sync = 2",
    "DELETE FROM execution_metrics WHERE {}",
]


@pytest.fixture
def table(clickhouse: Client, engine: EngineProcess, database: str) -> Client:
    """A client of a table whose rows are kept for 90 days."""
    Migrations(ClickHouseTarget(engine.host, engine.port, database), retention_days=90).apply(lambda _: None)
    return clickhouse


def test_versions_of_a_row_expire_at_once(table: Client) -> None:
    """Else the version that is replaced would be shown from the instant of the newer one to its own."""
    for version, instant in ((1, "toIntervalMinute(1439)"), (2, "toIntervalMinute(0)")):
        table.execute(
            f"{INSERT} SELECT 'run_1', 'agent', NULL, 'm', "
            f"toDateTime64(toDate(now('UTC')) - 90, 3, 'UTC') + {instant}, {version}"
        )
    table.execute("ALTER TABLE execution_metrics MATERIALIZE TTL SETTINGS mutations_sync = 2")  # each part alone
    assert table.execute("SELECT version FROM execution_metrics_deduplicated") == []


@pytest.mark.parametrize("deletion", DELETIONS)
def test_deleted_metric_and_user_are_in_no_view(table: Client, deletion: str) -> None:
    table.execute(
        f"{INSERT} SELECT 'run_1', 'agent', 'user-' || toString(number), 'm' || toString(number), now64(3), 1 "  # noqa: S608 - ours
        "FROM numbers(3)"
    )
    table.execute(deletion.format("execution_id = 'run_1' AND metric_type = 'm0'"))
    table.execute(deletion.format("user_id = 'user-1'"))
    assert table.execute("SELECT metric_type FROM execution_metrics_deduplicated") == [("m2",)]
    assert table.execute("SELECT user_id FROM execution_metrics_user_days") == [("user-2",)]
    assert table.execute("SELECT user_id FROM execution_metrics_user_days WHERE user_id < 'user-2'") == []
