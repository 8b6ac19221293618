"""The ClickHouse side of the demo: the constraint, and reading back what is in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import CONSTRAINT

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from clickhouse_driver import Client

    from deploy.local.demo.books import Owner

TABLE = "execution_metrics"
VIEW = f"{TABLE}_deduplicated"

_RAW = f"SELECT count(), uniqExact(source_topic, source_partition, source_offset, metric_type) FROM {TABLE}"  # noqa: S608
_VIEW = f"SELECT count(), uniqExact(execution_id) FROM {VIEW}"  # noqa: S608
_PAGE = f"""
SELECT toString(execution_id), agent_name, toInt32(toDate32(completed_at)),
       groupArray(toString(metric_type)), groupArray(metric_value)
FROM {VIEW}
WHERE startsWith(toString(execution_id), %(digit)s)
GROUP BY 1, 2, 3
"""  # noqa: S608 - the name is a constant
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


def constrain(client: Client) -> None:
    """Add the rule that some careless events break."""
    client.execute(f"ALTER TABLE {TABLE} ADD {CONSTRAINT}")


def counts(client: Client) -> Counts:
    """Count what is there."""
    ((rows, distinct),) = client.execute(_RAW)
    return Counts(rows, rows - distinct, *client.execute(_VIEW)[0])


def page(client: Client, digit: str) -> dict[Owner, list[tuple[str, float]]]:
    """The rows of the view of the executions whose id begins with `digit`: metrics and values by owner."""
    rows = client.execute(_PAGE, {"digit": digit})
    return {
        (execution, agent, day): list(zip(metrics, values, strict=True))
        for execution, agent, day, metrics, values in rows
    }


def sample(client: Client, executions: Collection[str], metrics: Collection[str]) -> list[SampleRow]:
    """A few rows of the view: of these executions and metrics, or of any where none are named."""
    chosen = {"all": not executions, "executions": tuple(executions) or ("",), "metrics": tuple(metrics) or ("",)}
    return [SampleRow(*row) for row in client.execute(_SAMPLE, chosen)]
