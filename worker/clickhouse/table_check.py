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
# By default the window of a single server is 0, and that of a replicated table is not.
_WINDOW = re.compile(r"(?P<non>non_)?replicated_deduplication_window = (?P<inserts>\d+)")


class _Table(NamedTuple):
    engine: str
    engine_full: str
    sorting_key: str
    partition_key: str


def find_schema_differences(target: ClickHouseTarget) -> list[str]:
    """A sentence for each difference between table and schema; none where there is no table yet. Raises StoreError."""
    table = _find_table(target, target.database, target.table)
    if not table:
        return []
    differences = list(_column_differences(target))
    stored_table: _Table | None = table
    if table.engine == "Distributed":
        differences += _sharding_differences(table)
        local = _DISTRIBUTED.search(table.engine_full)
        stored_table = _find_table(target, _unescape(local[2]), _unescape(local[3])) if local else None
    if stored_table:  # else the connected server has no shard of the table
        differences += _storage_differences(stored_table)
    return differences


def _find_table(target: ClickHouseTarget, database: str, table: str) -> _Table | None:
    rows = run_statement(
        target,
        "SELECT engine, engine_full, sorting_key, partition_key FROM system.tables "
        "WHERE database = %(database)s AND name = %(table)s",
        {"database": database, "table": table},
    )
    return _Table(*rows[0]) if rows else None


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


def _sharding_differences(table: _Table) -> Iterator[str]:
    if "execution_id" not in table.engine_full:
        yield (
            f"engine {table.engine_full} does not shard by execution_id, so the versions of a row can be on two shards "
            "and the view shows both"
        )


def _storage_differences(table: _Table) -> Iterator[str]:
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
    is_replicated = table.engine != "ReplacingMergeTree"
    windows = {not found["non"]: int(found["inserts"]) for found in _WINDOW.finditer(table.engine_full)}
    if not windows.get(is_replicated, 1 if is_replicated else 0):
        yield (
            "deduplication window is 0, so ClickHouse ignores the deduplication tokens of INSERTs; set it: "
            f"ALTER TABLE … MODIFY SETTING {'' if is_replicated else 'non_'}replicated_deduplication_window = 10000"
        )
