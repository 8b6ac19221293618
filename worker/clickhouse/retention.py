"""How long rows are kept: a TTL of the table; by default there is none."""

import re

from worker.clickhouse.connection import ClickHouseTarget, run_statement

_TTL = re.compile(r"\bTTL (.*?)(?: SETTINGS |$)")


def plan_retention(target: ClickHouseTarget, days: int | None) -> str | None:
    """The ALTER that sets the TTL of the table; None where it is set already.

    Rows are removed `days` after the day of `completed_at`, so that all versions of a row expire at once: else an older
    version with a later instant would be shown for a while. 0 keeps them for ever; None leaves the table as it is.
    Raises StoreError if ClickHouse refuses or cannot be reached.
    """
    if days is None:
        return None
    topology = target.topology
    alter = f"ALTER TABLE {topology.stored_table}{topology.on_cluster}"
    wanted = f"day + toIntervalDay({days})" if days else ""
    if _find_ttl(target, topology.stored_table) == wanted:
        return None
    return f"{alter} MODIFY TTL {wanted}" if days else f"{alter} REMOVE TTL"


def _find_ttl(target: ClickHouseTarget, table: str) -> str:
    """The TTL as ClickHouse prints it; empty where there is none, or no table yet."""
    found = run_statement(
        target,
        "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = %(table)s",
        {"table": table},
    )
    ttl = _TTL.search(found[0][0]) if found else None
    return ttl[1] if ttl else ""
