"""The SQL of a migration for one server or for a cluster.

A migration is written for one server, and a file that was applied must not change. So the statements for a cluster are
derived from it: each runs on every server (`ON CLUSTER`), and a table that stores rows becomes two: `NAME_local` on
each server, and the Distributed table `NAME` over these, which the worker and the plain views use.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = re.compile(
    r"(?P<verb>(?:CREATE(?: OR REPLACE)?|ALTER|DROP) (?P<kind>TABLE|MATERIALIZED VIEW|VIEW)(?: IF (?:NOT )?EXISTS)?) "
    r"(?P<name>\{table\}\w*)"
)
_TABLE_NAME = re.compile(r"\{table\}\w*")
# Rows that are de-duplicated by their key are data, which replicas must not lose. Other tables are computed from data
# by a refreshable view, which can fill a replicated table only in a Replicated database: each server has its own.
_ENGINE = "ENGINE = ReplacingMergeTree("
_REPLICATED_ENGINE = (  # the braces are macros of ClickHouse
    "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', "
)
_COLUMNS_CHANGE = re.compile(r"\b(?:ADD|DROP|RENAME) COLUMN\b")
_SHARDING_COLUMN = re.compile(r"^\s+execution_id ", re.MULTILINE)


@dataclass(frozen=True)
class Topology:
    """Where the tables are: on one server, or on those of `cluster`, which is a name in `remote_servers`."""

    database: str
    table: str
    cluster: str | None = None

    @property
    def stored_table(self) -> str:
        """The table that stores the rows on each server; on a cluster `table` is Distributed over it."""
        return f"{self.table}_local" if self.cluster else self.table

    @property
    def on_cluster(self) -> str:
        """The clause after the name in a statement for every server; empty for a single server."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def statements(self, written: str) -> Iterator[str]:
        """The statements to run for one of a migration; raises ValueError if its kind has no form for a cluster."""
        head = _HEAD.match(written)
        if not head:
            raise ValueError(f"a migration may CREATE, ALTER or DROP tables and views named after {{table}}: {written}")
        everywhere = f"{head['verb']} {head['name']}{self.on_cluster}{written[head.end() :]}"
        if not self.cluster or head["kind"] == "VIEW":
            yield self._with_table_name(everywhere)
            return
        yield _replicate(self._with_table_name(_TABLE_NAME.sub(r"\g<0>_local", everywhere)))
        if head["kind"] == "MATERIALIZED VIEW":
            return
        if head["verb"].startswith("CREATE"):
            yield self._create_distributed(head["verb"], self._with_table_name(head["name"]), written)
        elif head["verb"].startswith("DROP") or _COLUMNS_CHANGE.search(written):
            yield self._with_table_name(everywhere)

    def _with_table_name(self, statement: str) -> str:
        return statement.replace("{table}", self.table)

    def _create_distributed(self, verb: str, name: str, written: str) -> str:
        # All versions of a row must be on one shard, or FINAL could not choose between them.
        sharding_key = ", cityHash64(execution_id)" if _SHARDING_COLUMN.search(written) else ""
        database = self.database.replace("\\", "\\\\").replace("'", "\\'")
        engine = f"Distributed('{self.cluster}', '{database}', '{name}_local'{sharding_key})"
        return f"{verb} {name}{self.on_cluster} AS {name}_local ENGINE = {engine}"


def _replicate(statement: str) -> str:
    if _ENGINE not in statement:
        return statement
    replicated = statement.replace(_ENGINE, _REPLICATED_ENGINE)
    return replicated.replace("non_replicated_deduplication_window", "replicated_deduplication_window")
