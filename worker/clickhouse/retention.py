"""How long rows are kept: a TTL on the table, which nobody gets who does not ask for it."""

import re

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.topology import Topology

_TTL = re.compile(r"\bTTL (.*?)(?: SETTINGS |$)")


def retention_statement(target: ClickHouseTarget, topology: Topology, days: int | None) -> str | None:
    """The ALTER that makes the table keep rows for `days` after `completed_at`; None where it does already.

    Of `days`, 0 keeps them for ever and None leaves what the table says.

    Raises:
        StoreError: as the server or the connection failed.
    """
    if days is None:
        return None
    alter = f"ALTER TABLE {topology.stored}{topology.on_cluster}"
    wanted = f"completed_at + toIntervalDay({days})" if days else ""
    if _ttl_of(target, topology.stored) == wanted:
        return None
    return f"{alter} MODIFY TTL {wanted}" if days else f"{alter} REMOVE TTL"


def _ttl_of(target: ClickHouseTarget, table: str) -> str:
    """As ClickHouse writes it; empty where there is none, or no table yet."""
    found = run_statement(
        target,
        "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = %(table)s",
        {"table": table},
    )
    ttl = _TTL.search(found[0][0]) if found else None
    return ttl[1] if ttl else ""
