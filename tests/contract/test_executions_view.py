"""The view of executions where two records of one execution have the same version."""

from datetime import UTC, datetime

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget

COLUMNS = (
    "execution_id, agent_name, user_id, labels, metric_type, metric_value, completed_at, version, source_partition"
)
DAY = datetime(2026, 9, 21, tzinfo=UTC)
TIED_VERSION = 1_790_000_000_000 << 64 | 7


@pytest.fixture
def table(clickhouse: Client, engine: EngineProcess, database: str) -> Client:
    migrate(ClickHouseTarget(engine.host, engine.port, database))
    return clickhouse


def insert(client: Client, partition: int, metrics: dict[str, float]) -> None:
    client.execute(
        f"INSERT INTO execution_metrics ({COLUMNS}) VALUES",
        [
            (
                "run_1",
                "agent",
                f"user {partition}",
                {"release": f"{partition}"},
                name,
                value,
                DAY,
                TIED_VERSION,
                partition,
            )
            for name, value in metrics.items()
        ],
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_records_of_two_partitions_with_one_version_are_not_mixed(table: Client, order: tuple[int, int]) -> None:
    """Their producer used another key. Time and offset are equal, so the partition decides what is the latest event."""
    metrics: tuple[dict[str, float], ...] = ({"only 0": 0, "cost_usd": 10}, {"only 1": 1, "cost_usd": 11})
    for partition in order:
        insert(table, partition, metrics[partition])
    ((user, labels, latest, earlier),) = table.execute(
        "SELECT user_id, labels, metrics, earlier_metrics FROM execution_metrics_executions"
    )
    assert (user, labels, latest["only 1"]) == ("user 1", {"release": "1"}, 1)
    assert latest.items() <= metrics[1].items(), "a metric of the other record is not of this user"
    assert earlier.items() <= metrics[0].items()
    assert earlier["only 0"] == 0
