"""Roll-ups equal the de-duplicated rows, after repeated, late and replayed rows."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.local import fresh_name
from tests.support.rows import insert_rows
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget

ROWS = 1_000_000

pytestmark = pytest.mark.timeout(600)  # a quarter of a minute where nothing else runs

# Of each key the youngest row, without FINAL, views or merges.
EXPECTED = """
SELECT {bucket} AS bucket, metric_type, agent_name, count(), sum(v.1), min(v.1), max(v.1), {quantiles}
FROM
(
    SELECT metric_type, agent_name, toDate32(completed_at) AS d, execution_id,
           argMax((metric_value, completed_at), recorded_at) AS v
    FROM execution_metrics
    GROUP BY metric_type, agent_name, d, execution_id
)
{where}
GROUP BY bucket, metric_type, agent_name
ORDER BY ALL
"""
PER_DAY = EXPECTED.format(
    bucket="toDate32(v.2)",
    quantiles="arrayJoin([quantilesBFloat16(0.5, 0.9, 0.95, 0.99)(v.1)])",
    where="",
)
PER_MINUTE = EXPECTED.format(
    bucket="toStartOfInterval(v.2, INTERVAL 60000 MILLISECOND)",
    quantiles="quantileExact(0.5)(v.1), quantileExact(0.9)(v.1), quantileExact(0.95)(v.1), quantileExact(0.99)(v.1)",
    where="WHERE d BETWEEN '2026-09-07' AND '2026-09-08'",
)


@pytest.fixture(scope="module")
def rolled(engine: EngineProcess) -> Iterator[Client]:
    """A client of a database with a million rows, each inserted four times, late ones, and replays of older events."""
    database = fresh_name("roll_ups")
    with engine.client() as client:
        client.execute(f"CREATE DATABASE {database}")
        migrate(ClickHouseTarget(engine.host, engine.port, database, timeout_seconds=60))
    with engine.client(database, send_receive_timeout=120) as client:
        client.execute("SYSTEM STOP MERGES execution_metrics")
        insert_rows(client, ROWS, of=ROWS)
        refresh(client)  # so that a roll-up exists before rows are repeated
        for _ in range(3):
            insert_rows(client, ROWS, of=ROWS)
        insert_late_and_replayed_rows(client)
        assert client.execute("SELECT count() > 4000000 FROM execution_metrics") == [(1,)]
        yield client
        client.execute(f"DROP DATABASE {database} SYNC")


def insert_late_and_replayed_rows(client: Client) -> None:
    columns = "agent_name, user_id, metric_type"
    # Late: new executions of long ago.
    client.execute(
        f"INSERT INTO execution_metrics (execution_id, {columns}, metric_value, completed_at, recorded_at) "  # noqa: S608 - ours
        f"SELECT generateUUIDv4(), {columns}, metric_value + 1, completed_at - INTERVAL 20 DAY, now64(3) "
        "FROM execution_metrics_deduplicated WHERE metric_type = 'cost_usd' AND source_partition = 1"
    )
    # Events sent again at another minute of the same day, with other values: younger ones replace the first. Older
    # ones, of a replay, do not.
    for value, recorded in ((1e6, "recorded_at + INTERVAL 1 DAY"), (2e6, "recorded_at - INTERVAL 1 SECOND")):
        client.execute(
            f"INSERT INTO execution_metrics (execution_id, {columns}, metric_value, completed_at, recorded_at) "  # noqa: S608 - ours
            f"SELECT execution_id, {columns}, metric_value + {value}, toStartOfDay(completed_at), {recorded} "
            "FROM execution_metrics_deduplicated WHERE metric_type = 'tool_calls' AND source_partition = 2"
        )


def refresh(client: Client) -> None:
    client.execute("SYSTEM REFRESH VIEW execution_metrics_per_day_refresh")
    client.execute("SYSTEM WAIT VIEW execution_metrics_per_day_refresh")


def assert_same(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    """Equal, except for the last bits of sums (column 5), whose terms were added in another order."""
    assert [(*row[:4], *row[5:]) for row in found] == [(*row[:4], *row[5:]) for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert math.isclose(one[4], other[4], rel_tol=1e-9)


def test_per_day_equals_the_deduplicated_rows(rolled: Client) -> None:
    before = rolled.execute("SELECT sum(executions) FROM execution_metrics_per_day")
    assert before == [(ROWS,)], "repeated rows must not show before the next refresh either"
    refresh(rolled)
    found = rolled.execute(
        "SELECT day, metric_type, agent_name, executions, total, least, most, [p50, p90, p95, p99] "
        "FROM execution_metrics_per_day ORDER BY ALL"
    )
    expected = rolled.execute(PER_DAY)
    assert len(expected) > 15_000
    assert_same(found, expected)
    assert max(row[6] for row in found) >= 1e6, "the younger events must replace the first"
    assert max(row[6] for row in found) < 2e6, "the older events must not"


def test_per_minute_equals_the_deduplicated_rows(rolled: Client) -> None:
    found = rolled.execute(
        "SELECT minute, metric_type, agent_name, executions, total, least, most, p50, p90, p95, p99 "
        "FROM execution_metrics_per_minute WHERE day BETWEEN '2026-09-07' AND '2026-09-08' ORDER BY ALL"
    )
    expected = rolled.execute(PER_MINUTE)
    assert len(expected) > 1_000
    assert_same(found, expected)


def test_extreme_values_do_not_stop_the_roll_up(rolled: Client) -> None:
    rolled.execute(
        "INSERT INTO execution_metrics (execution_id, agent_name, metric_type, metric_value, completed_at) VALUES",
        [
            (f"00000000-0000-0000-0000-00000000000{number}", "extreme", "m", value, instant)
            for number, (value, instant) in enumerate(
                [(1.7e308, -2_208_988_800_000), (5e-324, 0), (-1.7e308, 0), (-0.0, 10_413_791_999_000), (0.5, 0)]
            )
        ],
    )
    refresh(rolled)
    assert rolled.execute("SELECT exception FROM system.view_refreshes WHERE database = currentDatabase()") == [("",)]
    found = rolled.execute(
        "SELECT toString(day), executions FROM execution_metrics_per_day WHERE agent_name = 'extreme'"
    )
    assert sorted(found) == [("1900-01-01", 1), ("1970-01-01", 3), ("2299-12-31", 1)]
    minutes = rolled.execute(
        "SELECT toString(minute) FROM execution_metrics_per_minute WHERE agent_name = 'extreme' ORDER BY minute"
    )
    assert [minute[:16] for (minute,) in minutes] == ["1900-01-01 00:00", "1970-01-01 00:00", "2299-12-31 23:59"]
