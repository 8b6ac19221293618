"""Whether the table is the one that the worker's promises need, and where it is not."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.types import type_differences
from worker.events.block import COLUMNS

_SORTING_KEY = "metric_type, agent_name, toDate32(completed_at), execution_id"
_PARTITION_KEY = "toYYYYMM(completed_at)"
_LITERAL = r"'((?:[^'\\]|\\.)*)'"
_DISTRIBUTED = re.compile(rf"Distributed\({_LITERAL}, {_LITERAL}, {_LITERAL}")
# A server that stands alone has none unless it is told to; replicas have one unless they are told not to.
_WINDOW = re.compile(r"(?P<not>non_)?replicated_deduplication_window = (?P<inserts>\d+)")


class _Table(NamedTuple):
    engine: str
    engine_full: str
    sorting_key: str
    partition_key: str


def schema_differences(target: ClickHouseTarget) -> list[str]:
    """A sentence for each thing about the table that does not fit; none where there is no table yet.

    Raises:
        StoreError: the server refuses or cannot be reached.
    """
    table = _table(target, target.database, target.table)
    if not table:
        return []
    found = list(_columns(target))
    stored = table
    if table.engine == "Distributed":
        found += _sharding(table)
        below = _DISTRIBUTED.search(table.engine_full)
        on_server = _table(target, _unescaped(below[2]), _unescaped(below[3])) if below else None
        if not on_server:
            return found  # the server that we speak to has no part of it
        stored = on_server
    return [*found, *_storage(stored)]


def _table(target: ClickHouseTarget, database: str, table: str) -> _Table | None:
    rows = run_statement(
        target,
        "SELECT engine, engine_full, sorting_key, partition_key FROM system.tables "
        "WHERE database = %(database)s AND name = %(table)s",
        {"database": database, "table": table},
    )
    return _Table(*rows[0]) if rows else None


def _unescaped(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal)


def _columns(target: ClickHouseTarget) -> Iterator[str]:
    rows = run_statement(
        target,
        "SELECT name, type, default_kind FROM system.columns WHERE database = %(database)s AND table = %(table)s",
        {"database": target.database, "table": target.table},
    )
    if not rows:
        return  # no table is without columns: this user may not see them
    yield from type_differences({name: kind for name, kind, _ in rows})
    for name, _, default in rows:
        if name in COLUMNS and default in ("MATERIALIZED", "ALIAS"):
            yield f"column {name} is {default}, and takes no value from an insert"


def _sharding(table: _Table) -> Iterator[str]:
    if "execution_id" not in table.engine_full:
        yield (
            f"engine {table.engine_full} does not shard by execution_id, so that two versions of a row can be on two "
            "shards and both be shown"
        )


def _storage(table: _Table) -> Iterator[str]:
    if not table.engine.endswith("ReplacingMergeTree"):
        yield f"engine is {table.engine}; it should be ReplacingMergeTree(recorded_at), or repeated writes stay"
        return
    if not re.search(r"ReplacingMergeTree\((?:[^()]*, )?recorded_at\)", table.engine_full):
        yield f"engine is {table.engine_full.split(' ')[0]}; its version should be recorded_at, or an old replay wins"
    if table.sorting_key != _SORTING_KEY:
        yield f"sorting key is ({table.sorting_key}); it should be ({_SORTING_KEY}), which is what makes two rows one"
    if table.partition_key != _PARTITION_KEY:
        yield f"partition key is {table.partition_key or 'none'}; it should be {_PARTITION_KEY}, as blocks are"
    alone = table.engine == "ReplacingMergeTree"
    windows = {bool(found["not"]): int(found["inserts"]) for found in _WINDOW.finditer(table.engine_full)}
    if not windows.get(alone, 0 if alone else 1):
        yield (
            "deduplication window is 0, so that ClickHouse ignores the token of an insert; it should be set: "
            f"ALTER TABLE … MODIFY SETTING {'non_' if alone else ''}replicated_deduplication_window = 10000"
        )
