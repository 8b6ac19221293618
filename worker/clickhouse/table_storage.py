"""What the table takes on disk."""

from typing import NamedTuple

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.table_check import StoredTable


class DiskUsage(NamedTuple):
    """What the connected server stores of a table, which on a cluster is one shard of it.

    Attributes:
        rows: number of them, with versions that are not merged yet.
        bytes: compressed, with indexes and projections.
    """

    rows: int
    bytes: int


def fetch_disk_usage(target: ClickHouseTarget, table: StoredTable) -> DiskUsage:
    """The rows of `table` and their size.

    Raises StoreError if ClickHouse cannot be reached, or refuses: it may require `SELECT` on `system.parts`.
    """
    (usage,) = run_statement(
        target,
        "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = %(database)s AND table = %(table)s",
        {"database": table.database, "table": table.name},
    )
    return DiskUsage(*usage)
