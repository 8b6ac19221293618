"""The ClickHouse side of the demo: add the constraint, read the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.comparison import FoundRow
from deploy.local.demo.expectations import DAY, PAGES, EventFields, RecordPosition
from deploy.local.demo.reference import CONSTRAINT

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from clickhouse_driver import Client

    from deploy.local.demo.comparison import RowKey

TABLE = "execution_metrics"
VIEW = f"{TABLE}_deduplicated"

_RAW = f"SELECT count(), uniqExact(source_topic, source_partition, source_offset, metric_type) FROM {TABLE}"  # noqa: S608
# FINAL is slow in a table of many parts, so the view is read once, not once for each page.
_COPY_VIEW = f"""
CREATE TEMPORARY TABLE seen AS
SELECT execution_id AS execution, CRC32(execution_id) % {len(PAGES)} AS page, agent_name AS agent,
       user_id, CAST(labels, 'Array(Tuple(String, String))') AS pairs,
       toUnixTimestamp64Milli(completed_at) AS completed, toUnixTimestamp64Milli(recorded_at) AS recorded,
       source_partition, source_offset, metric_type AS metric, metric_value AS value
FROM {VIEW}
"""  # noqa: S608 - the names are constants
_IN_VIEW = "SELECT count(), uniqExact(execution) FROM seen"
_PAGE = """
SELECT source_partition, source_offset, execution, agent, user_id, pairs, completed, recorded,
       groupArray(toString(metric)), groupArray(value)
FROM seen WHERE page = %(page)s GROUP BY ALL
"""
_SAMPLE = f"""
SELECT agent_name, execution_id, metric_type, metric_value, completed_at,
       concat(toString(source_partition), '/', toString(source_offset))
FROM {VIEW}
WHERE %(all)s OR (execution_id IN %(executions)s AND metric_type IN %(metrics)s)
ORDER BY version, execution_id, metric_type
LIMIT 6
"""  # noqa: S608


class Counts(NamedTuple):
    """Rows of the table, rows that repeat a metric of the same record, rows and executions of the view."""

    rows: int
    repeated: int
    rows_in_view: int
    executions: int


class SampleRow(NamedTuple):
    """A row of the report; `record` is partition and offset."""

    agent: str
    execution: str
    metric: str
    value: float
    completed_at: datetime
    record: str


def add_constraint(client: Client, stored: str = TABLE) -> None:
    """Add the constraint that some careless events violate to the table that stores the rows."""
    client.execute(f"ALTER TABLE {stored} ADD {CONSTRAINT}")


def count_rows(client: Client) -> Counts:
    """Count the rows, and copy the view into a temporary table of this connection for `read_page`."""
    ((rows, distinct),) = client.execute(_RAW)
    client.execute(_COPY_VIEW)
    return Counts(rows, rows - distinct, *client.execute(_IN_VIEW)[0])


def read_page(client: Client, page: int) -> dict[RowKey, list[FoundRow]]:
    """The rows of the executions of one of `PAGES`, by owner. After `count_rows`."""
    found: dict[RowKey, list[FoundRow]] = {}
    for partition, offset, execution, agent, user, labels, *times, metrics, values in client.execute(
        _PAGE, {"page": page}
    ):
        event = EventFields(RecordPosition(partition, offset), execution, agent, user, tuple(labels), *times)
        rows = found.setdefault((event.execution, event.agent, event.completed_at // DAY), [])
        rows += [FoundRow(metric, value, event) for metric, value in zip(metrics, values, strict=True)]
    return found


def read_sample(client: Client, executions: Collection[str], metrics: Collection[str]) -> list[SampleRow]:
    """A few rows of the view: of these executions and metrics, or of any where none are named."""
    chosen = {"all": not executions, "executions": tuple(executions) or ("",), "metrics": tuple(metrics) or ("",)}
    return [SampleRow(*row) for row in client.execute(_SAMPLE, chosen)]
