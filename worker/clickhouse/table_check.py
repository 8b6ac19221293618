"""Checks that the table has the schema that the promises of the worker need."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.types import type_differences
from worker.events.block import COLUMNS

_SORTING_KEY = "toDate32(completed_at), metric_type, agent_name, execution_id"
_PARTITION_KEY = "toYYYYMM(day)"
_DAY = "toDate32(completed_at)"
_LITERAL = r"'((?:[^'\\]|\\.)*)'"
_DISTRIBUTED = re.compile(rf"Distributed\({_LITERAL}, {_LITERAL}, {_LITERAL}")
_WINDOW = re.compile(r"(?P<non>non_)?replicated_deduplication_window = (?P<inserts>\d+)")


class StoredTable(NamedTuple):
    """A table as ClickHouse describes it."""

    database: str
    name: str
    engine: str
    engine_full: str
    sorting_key: str
    partition_key: str

    @property
    def is_replicated(self) -> bool:
        """Whether the table has replicas, whose deduplication window is another setting."""
        return self.engine != "ReplacingMergeTree"

    @property
    def deduplication_window(self) -> int | None:
        """How many blocks ClickHouse remembers the tokens of; None where the table leaves it to the server."""
        windows = {not found["non"]: int(found["inserts"]) for found in _WINDOW.finditer(self.engine_full)}
        return windows.get(self.is_replicated)


def find_schema_differences(target: ClickHouseTarget) -> list[str]:
    """A sentence for each difference between table and schema; none where there is no table yet. Raises StoreError."""
    table = _find_table(target, target.database, target.table)
    if not table:
        return []
    differences = list(_column_differences(target))
    if table.engine == "Distributed":
        differences += _sharding_differences(table)
    if stored_table := _find_local_table(target, table):
        differences += _storage_differences(stored_table)
    return differences


def find_stored_table(target: ClickHouseTarget) -> StoredTable | None:
    """The table that stores the rows; None if the server does not have it, or shows it to this user.

    Raises StoreError.
    """
    table = _find_table(target, target.database, target.table)
    return _find_local_table(target, table) if table else None


def _find_local_table(target: ClickHouseTarget, table: StoredTable) -> StoredTable | None:
    """`table`, or that of the shard if it is Distributed; None if the connected server has no shard of it."""
    if table.engine != "Distributed":
        return table
    local = _DISTRIBUTED.search(table.engine_full)
    return _find_table(target, _unescape(local[2]), _unescape(local[3])) if local else None


def _find_table(target: ClickHouseTarget, database: str, table: str) -> StoredTable | None:
    rows = run_statement(
        target,
        "SELECT database, name, engine, engine_full, sorting_key, partition_key FROM system.tables "
        "WHERE database = %(database)s AND name = %(table)s",
        {"database": database, "table": table},
    )
    return StoredTable(*rows[0]) if rows else None


def _unescape(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal)


def _column_differences(target: ClickHouseTarget) -> Iterator[str]:
    rows = run_statement(
        target,
        "SELECT name, type, default_kind, default_expression FROM system.columns "
        "WHERE database = %(database)s AND table = %(table)s",
        {"database": target.database, "table": target.table},
    )
    if not rows:
        return  # every table has columns: this user has no right to see them
    yield from type_differences({name: kind for name, kind, *_ in rows})
    for name, _, default, _ in rows:
        if name in COLUMNS and default in ("MATERIALIZED", "ALIAS"):
            yield f"column {name} is {default}, and takes no value from an INSERT"
    day = next((f"{default} {expression}" for name, _, default, expression in rows if name == "day"), "missing")
    if day not in (f"MATERIALIZED {_DAY}", f"DEFAULT {_DAY}"):
        yield f"column day is {day.strip()}; it should be Date32 MATERIALIZED {_DAY}, or partitions are wrong"


def _sharding_differences(table: StoredTable) -> Iterator[str]:
    if "execution_id" not in table.engine_full:
        yield (
            f"engine {table.engine_full} does not shard by execution_id, so the versions of a row can be on two shards "
            "and the view shows both"
        )


def _storage_differences(table: StoredTable) -> Iterator[str]:
    if not table.engine.endswith("ReplacingMergeTree"):
        yield f"engine is {table.engine}; it should be ReplacingMergeTree(version), or repeated rows stay"
        return
    if not re.search(r"ReplacingMergeTree\((?:[^()]*, )?version\)", table.engine_full):
        yield f"engine is {table.engine_full.split(' ')[0]}; its version should be `version`, or an old replay wins"
    # The order decides what queries cost, and not what they answer.
    if sorted(table.sorting_key.split(", ")) != sorted(_SORTING_KEY.split(", ")):
        yield f"sorting key is ({table.sorting_key}); it should be ({_SORTING_KEY}) in any order, the identity of a row"
    if table.partition_key != _PARTITION_KEY:
        yield f"partition key is {table.partition_key or 'none'}; it should be {_PARTITION_KEY}, as in blocks"
    # By default the window of a single server is 0, and that of a replicated table is not.
    is_replicated = table.is_replicated
    if table.deduplication_window == 0 or (table.deduplication_window is None and not is_replicated):
        yield (
            "deduplication window is 0, so ClickHouse ignores the deduplication tokens of INSERTs; set it: "
            f"ALTER TABLE … MODIFY SETTING {'' if is_replicated else 'non_'}replicated_deduplication_window = 10000"
        )
