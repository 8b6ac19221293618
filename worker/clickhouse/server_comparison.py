"""Compares the servers of CLICKHOUSE_HOST: rows must arrive in one table, whichever of them takes an INSERT."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.servers import Server
from worker.core.errors import StoreError

_ACCESS_DENIED = 497
_TABLE = """SELECT engine, engine_full, toString(uuid), toString(serverUUID()) FROM system.tables
WHERE database = %(database)s AND name = %(table)s"""
_REPLICA = "SELECT zookeeper_path FROM system.replicas WHERE database = %(database)s AND table = %(table)s"


def for_each_server(target: ClickHouseTarget) -> dict[Server, ClickHouseTarget]:
    """A target for each of the servers alone."""
    return {server: replace(target, host=str(server)) for server in target.servers}


def find_separate_servers(target: ClickHouseTarget) -> str | None:
    """Why rows would be divided among servers with tables of their own; None if they share one.

    Raises StoreError if a server cannot be asked.
    """
    tables = {server: _identify_table(single) for server, single in for_each_server(target).items()}
    if len(set(tables.values())) == 1:
        return None
    name = f"{target.database}.{target.table}"
    advice = "CLICKHOUSE_HOST may list replicas of one shard, or servers with the same Distributed table"
    return f"{name} is not one table on these servers: {_describe(tables)}; rows would be divided among them. {advice}"


def _describe(tables: Mapping[Server, str]) -> str:
    """The servers that differ from most, and how; all of them if there is no majority."""
    (usual, count), *_ = Counter(tables.values()).most_common(1)
    if count * 2 <= len(tables):
        return ", ".join(f"{server} has {table}" for server, table in tables.items())
    odd = ", ".join(f"{server} has {table}" for server, table in tables.items() if table != usual)
    return f"{odd}, the others have {usual}"


def _identify_table(target: ClickHouseTarget) -> str:
    """Text that two servers have in common only if an INSERT into either arrives in the same table."""
    names = {"database": target.database, "table": target.table}
    rows = run_statement(target, _TABLE, names)
    if not rows:
        return "no such table, or none that this user may see"
    engine, definition, table_uuid, server_uuid = rows[0]
    definition = str(definition).split(" SETTINGS ", maxsplit=1)[0]
    if engine == "Distributed":
        return definition
    if engine.startswith("Shared"):  # of ClickHouse Cloud, whose definition has a macro in place of the identifier
        return f"{definition} ({table_uuid})"
    if engine.startswith("Replicated"):
        return f"{definition}{_keeper_path(target, names)}"
    return f"{engine} of its own ({table_uuid} of server {server_uuid})"


def _keeper_path(target: ClickHouseTarget, names: Mapping[str, object]) -> str:
    """The path in Keeper, in which the shard is no macro any more; empty if this user may not read it."""
    try:
        return "".join(f" at {path}" for (path,) in run_statement(target, _REPLICA, names))
    except StoreError as error:
        if error.outcome.code != _ACCESS_DENIED:
            raise
        return ""
