"""The views by day after 100,000 rows were delivered four times, with corrections at other instants of their day."""

from collections.abc import Iterator
from typing import Any

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.rows import METRICS, insert_rows
from tests.support.tables import migrated_database, refresh_roll_up

Days = list[tuple[Any, ...]]

ROWS = 100_000
HALF_DAY_MS = 43_200_000

pytestmark = pytest.mark.timeout(600)  # three seconds where nothing else runs

# A tenth of the executions, recorded later, twelve hours earlier or later on the same day.
CORRECTIONS = f"""
INSERT INTO execution_metrics (execution_id, agent_name, user_id, labels, metric_type, metric_value, completed_at,
                               version, source_topic, source_partition)
SELECT execution_id, agent_name, 'corrected', labels, metric_type, metric_value + 0.5,
       if(toHour(completed_at) < 12, completed_at + toIntervalMillisecond({HALF_DAY_MS}),
          completed_at - toIntervalMillisecond({HALF_DAY_MS})),
       version + bitShiftLeft(toUInt128(60000), 64), source_topic, source_partition
FROM execution_metrics WHERE cityHash64(execution_id) % 10 = 0
"""  # noqa: S608 - ours
# Without FINAL and without a view.
LATEST = """
SELECT metric_type, agent_name, toDate32(completed_at) AS day, execution_id, argMax(metric_value, version) AS value
FROM execution_metrics GROUP BY ALL
"""
DAYS = f"""
SELECT metric_type, agent_name, day, count(), min(value), max(value), sum(value), quantileExact(0.99)(value)
FROM ({LATEST}) GROUP BY ALL ORDER BY ALL
"""  # noqa: S608 - ours


@pytest.fixture(scope="module", params=["merges stopped", "merges running"])
def client(request: pytest.FixtureRequest, engine: EngineProcess) -> Iterator[Client]:
    """A client of a database in which everything was delivered; some of it after the first refresh."""
    with migrated_database(engine, "rollup") as client:
        if request.param == "merges stopped":
            client.execute("SYSTEM STOP MERGES execution_metrics")
        insert_rows(client, ROWS, of=ROWS)
        client.execute(CORRECTIONS, settings={"deduplicate_insert_select": "disable"})
        insert_rows(client, ROWS // 2, of=ROWS)
        refresh_roll_up(client)
        insert_rows(client, ROWS // 2, first=ROWS // 2, of=ROWS)
        for _ in range(2):
            insert_rows(client, ROWS, of=ROWS)
        yield client


@pytest.fixture(scope="module")
def expected(client: Client) -> Days:
    days: Days = client.execute(DAYS)
    assert len(days) == 20 * len(METRICS) * 90
    assert sum(day[3] for day in days) == ROWS
    return days


def test_days_after_a_refresh_are_those_of_the_latest_versions(client: Client, expected: Days) -> None:
    refresh_roll_up(client)
    found = client.execute(
        "SELECT metric_type, agent_name, day, executions, least, most, total, p99 "
        "FROM execution_metrics_per_day ORDER BY ALL"
    )
    assert [row[:6] for row in found] == [row[:6] for row in expected]
    assert [row[6] for row in found] == pytest.approx([row[6] for row in expected], rel=1e-9, abs=1e-9)
    assert [row[7] for row in found] == pytest.approx([row[7] for row in expected], rel=0.01)


def test_days_are_complete_before_the_first_refresh(client: Client, expected: Days) -> None:
    client.execute("TRUNCATE TABLE execution_metrics_per_day_states")
    found = client.execute(
        "SELECT metric_type, agent_name, day, executions, least, most FROM execution_metrics_per_day ORDER BY ALL"
    )
    assert found == [row[:6] for row in expected]


def test_successes_of_a_day_are_those_of_the_latest_versions(client: Client) -> None:
    found = client.execute(
        "SELECT agent_name, day, executions, failed FROM execution_metrics_success_per_day ORDER BY ALL"
    )
    expected = client.execute(
        "SELECT agent_name, day, count(), countIf(value = 0) "  # noqa: S608 - ours
        f"FROM ({LATEST}) WHERE metric_type = 'result_success' GROUP BY ALL ORDER BY ALL"
    )
    assert found == expected


def test_minutes_and_executions_are_those_of_the_latest_versions(client: Client) -> None:
    ((executions,),) = client.execute(
        "SELECT sum(executions) FROM execution_metrics_per_minute WHERE metric_type = 'retries'"
    )
    ((corrected,),) = client.execute(
        "SELECT countIf(user_id = 'corrected' AND length(metrics) = 10) FROM execution_metrics_executions"
    )
    ((expected,),) = client.execute(
        "SELECT uniqExact(execution_id) FROM execution_metrics WHERE cityHash64(execution_id) % 10 = 0"
    )
    assert (executions, corrected) == (ROWS // len(METRICS), expected)
