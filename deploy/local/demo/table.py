"""The ClickHouse side of the demo: the constraint, and reading back what is in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import CONSTRAINT

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from clickhouse_driver import Client

    from deploy.local.demo.comparison import RowKey

TABLE = "execution_metrics"
VIEW = f"{TABLE}_deduplicated"

_RAW = f"SELECT count(), uniqExact(source_topic, source_partition, source_offset, metric_type) FROM {TABLE}"  # noqa: S608
# FINAL has its price in a table of many parts: the view is read once, not once for each page.
_SEEN = f"""
CREATE TEMPORARY TABLE seen AS
SELECT toString(execution_id) AS execution, left(execution, 1) AS digit, agent_name AS agent,
       toInt32(toDate32(completed_at)) AS day, metric_type AS metric, metric_value AS value
FROM {VIEW}
"""  # noqa: S608 - the name is a constant
_IN_VIEW = "SELECT count(), uniqExact(execution) FROM seen"
_PAGE = """
SELECT execution, agent, day, groupArray(toString(metric)), groupArray(value)
FROM seen WHERE digit = %(digit)s GROUP BY execution, agent, day
"""
_SAMPLE = f"""
SELECT agent_name, toString(execution_id), metric_type, metric_value, completed_at,
       concat(toString(source_partition), '/', toString(source_offset))
FROM {VIEW}
WHERE %(all)s OR (toString(execution_id) IN %(executions)s AND metric_type IN %(metrics)s)
ORDER BY recorded_at, execution_id, metric_type
LIMIT 6
"""  # noqa: S608


class Counts(NamedTuple):
    """What the table holds: its rows, those that are the same metric of the same record, and what the view shows."""

    rows: int
    repeated: int
    rows_in_view: int
    executions: int


class SampleRow(NamedTuple):
    """One row to be shown; `record` is partition and offset."""

    agent: str
    execution: str
    metric: str
    value: float
    completed_at: datetime
    record: str


def constrain(client: Client, stored: str = TABLE) -> None:
    """Add the rule that some careless events break to the table that keeps the rows."""
    client.execute(f"ALTER TABLE {stored} ADD {CONSTRAINT}")


def counts(client: Client) -> Counts:
    """Count what is there, and keep what the view shows now for `page`, as long as `client` is connected."""
    ((rows, distinct),) = client.execute(_RAW)
    client.execute(_SEEN)
    return Counts(rows, rows - distinct, *client.execute(_IN_VIEW)[0])


def page(client: Client, digit: str) -> dict[RowKey, list[tuple[str, float]]]:
    """The rows of the executions whose id begins with `digit`: metrics and values by owner. After `counts`."""
    rows = client.execute(_PAGE, {"digit": digit})
    return {
        (execution, agent, day): list(zip(metrics, values, strict=True))
        for execution, agent, day, metrics, values in rows
    }


def sample(client: Client, executions: Collection[str], metrics: Collection[str]) -> list[SampleRow]:
    """A few rows of the view: of these executions and metrics, or of any where none are named."""
    chosen = {"all": not executions, "executions": tuple(executions) or ("",), "metrics": tuple(metrics) or ("",)}
    return [SampleRow(*row) for row in client.execute(_SAMPLE, chosen)]
