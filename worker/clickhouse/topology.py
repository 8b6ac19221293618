"""The same SQL for one server and for a cluster.

A migration is written for one server. For a cluster, each statement runs on every server (`ON CLUSTER`), and what
stores rows is there twice: `NAME_local` on each server, and over them all a Distributed table `NAME`, which the worker
and the plain views use as they would use the table of one server.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = re.compile(
    r"(?P<verb>(?:CREATE(?: OR REPLACE)?|ALTER|DROP) (?P<kind>TABLE|MATERIALIZED VIEW|VIEW)(?: IF (?:NOT )?EXISTS)?) "
    r"(?P<name>\{table\}\w*)"
)
_OWN_NAME = re.compile(r"\{table\}\w*")
# What is de-duplicated by its key is data, and replicas must not lose it. What is not is derived from data by a
# refreshable view, which may fill a replicated table only in a Replicated database: each server has its own.
_REPLICATED = re.compile(r"ENGINE = ReplacingMergeTree\(")
_REPLICATED_ENGINE = (
    "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', "
)
_COLUMNS_CHANGE = re.compile(r"\b(?:ADD|DROP|RENAME) COLUMN\b")


@dataclass(frozen=True)
class Topology:
    """Where the tables are: on one server, or on those of a cluster.

    Args:
        database: of the tables.
        table: the table that the worker writes.
        cluster: its name in `remote_servers`; None for a server that stands alone.
    """

    database: str
    table: str
    cluster: str | None = None

    @property
    def stored(self) -> str:
        """The table on each server that keeps the rows."""
        return f"{self.table}_local" if self.cluster else self.table

    @property
    def on_cluster(self) -> str:
        """What stands behind the name in a statement that is for every server."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def statements(self, written: str) -> Iterator[str]:
        """What one statement of a migration becomes.

        Raises:
            ValueError: nobody has said what this kind of statement is on a cluster.
        """
        head = _HEAD.match(written)
        if not head:
            raise ValueError(f"a migration may CREATE, ALTER or DROP tables and views named after {{table}}: {written}")
        if not self.cluster:
            yield self._named(written)
            return
        stores = head["kind"] != "VIEW"
        everywhere = f"{head['verb']} {head['name']}{self.on_cluster}{written[head.end() :]}"
        if not stores:
            yield self._named(everywhere)
            return
        yield self._replicated(self._named(_OWN_NAME.sub(r"\g<0>_local", everywhere)))
        if head["kind"] == "TABLE":
            yield from self._over_all(head["verb"], head["name"], written)

    def _named(self, statement: str) -> str:
        return statement.replace("{table}", self.table)

    @staticmethod
    def _replicated(statement: str) -> str:
        replicated = _REPLICATED.sub(lambda _: _REPLICATED_ENGINE, statement)
        if replicated == statement:
            return statement
        return replicated.replace("non_replicated_deduplication_window", "replicated_deduplication_window")

    def _over_all(self, verb: str, name: str, written: str) -> Iterator[str]:
        """The Distributed table beside what one statement makes or changes on each server."""
        name = self._named(name)
        if verb.startswith("CREATE"):
            # All versions of a row on one shard, or FINAL could not choose between them.
            key = ", cityHash64(execution_id)" if re.search(r"^\s+execution_id ", written, re.MULTILINE) else ""
            database = self.database.replace("\\", "\\\\").replace("'", "\\'")
            engine = f"Distributed('{self.cluster}', '{database}', '{name}_local'{key})"
            yield f"{verb} {name}{self.on_cluster} AS {name}_local ENGINE = {engine}"
        elif verb.startswith("DROP") or _COLUMNS_CHANGE.search(written):
            yield self._named(written).replace(f" {name}", f" {name}{self.on_cluster}", 1)
