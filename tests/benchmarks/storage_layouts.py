"""Layouts of the table: the one of the migration, and the others that were candidates for it."""

from collections.abc import Mapping
from typing import NamedTuple

from worker.clickhouse.migrations import Migration, load_migrations

_COLUMNS = {
    "execution_id": "String",
    "agent_name": "LowCardinality(String)",
    "user_id": "Nullable(String)",
    "labels": "Map(LowCardinality(String), LowCardinality(String))",
    "metric_type": "LowCardinality(String)",
    "metric_value": "Float64",
    "completed_at": "DateTime64(3, 'UTC')",
    "version": "UInt128",
    "source_topic": "LowCardinality(String)",
    "source_partition": "Int32",
    "ingested_at": "DateTime64(3, 'UTC') DEFAULT now64(3)",
    "day": "Date32 MATERIALIZED toDate32(completed_at)",
    "recorded_at": "DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(toInt64(bitShiftRight(version, 64)), 'UTC')",
    "source_offset": "Int64 ALIAS toInt64(bitAnd(version, 0x7FFFFFFFFFFFFFFF))",
}
_COMPRESSED = ("execution_id", "user_id", "labels", "metric_value", "completed_at", "version", "source_partition",
               "ingested_at")  # fmt: skip
_OLD_CODECS = {
    **dict.fromkeys(("user_id", "labels", "metric_value", "version"), "CODEC(ZSTD(1))"),
    **dict.fromkeys(("completed_at", "source_partition", "ingested_at"), "CODEC(T64, LZ4)"),
}
_BY_USER = ", PROJECTION by_user (SELECT user_id, day, agent_name GROUP BY user_id, day, agent_name)"
_DAY = "toDate32(completed_at)"
_METRIC_FIRST = f"metric_type, agent_name, {_DAY}, execution_id"
_DAY_METRIC = f"{_DAY}, metric_type, agent_name, execution_id"
_AGENT_METRIC = f"agent_name, {_DAY}, metric_type, execution_id"
_AGENT_EXECUTION = f"agent_name, {_DAY}, execution_id, metric_type"
_BLOCKS = {"execution_id": 2048, "version": 2048, "metric_value": 16}
"""Least size of a compressed block in KiB; of other columns 512, and twice as much at most."""


class Layout(NamedTuple):
    """A sort key and how it is stored.

    Attributes:
        codecs: of columns; None is ZSTD with a window of 16 MiB.
        times: the sizes of compressed blocks in proportion to those that were chosen; 0 is ClickHouse's default.
        rate: of false positives of the index of executions; 0 is no index.
    """

    order: str
    granularity: int
    times: float = 1
    rate: float = 0.005
    by_user: bool = True
    codecs: Mapping[str, str] | None = None

    def migrations(self) -> list[Migration]:
        """The program's migrations, with this layout in place of the first."""
        return [Migration("0001_layout.sql", self.create()), *load_migrations()[1:]]

    def create(self, table: str = "{table}") -> str:
        """The statement that creates a table of this layout."""
        columns = ", ".join(f"{name} {kind} {self._storage(name)}" for name, kind in _COLUMNS.items())
        index = f", INDEX by_execution execution_id TYPE bloom_filter({self.rate}) GRANULARITY 1" if self.rate else ""
        projection = _BY_USER if self.by_user else ""
        settings = f"index_granularity = {self.granularity}, deduplicate_merge_projection_mode = 'rebuild'"
        return (
            f"CREATE TABLE IF NOT EXISTS {table} ({columns}{index}{projection}) ENGINE = ReplacingMergeTree(version) "
            f"PARTITION BY toYYYYMM(day) ORDER BY ({self.order}) SETTINGS {settings};\n"
        )

    def _storage(self, column: str) -> str:
        if self.codecs is not None:
            return self.codecs.get(column, "")
        if column not in _COMPRESSED:
            return ""
        if not self.times:
            return "CODEC(ZSTD(1))"
        least = max(round(_BLOCKS.get(column, 512) * 1024 * self.times), 16_384)
        sizes = f"min_compress_block_size = {least}, max_compress_block_size = {2 * least}"
        return f"CODEC(ZSTD(1, 24)) SETTINGS ({sizes})"


class Companion(NamedTuple):
    """The layout of the migration, and every row once more in a table of another layout."""

    layout: Layout

    def migrations(self) -> list[Migration]:
        """The program's migrations, and one that creates the companion and the view that fills it."""
        view = (
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {table}_to_companion TO {table}_companion AS SELECT * FROM {table};"
        )
        return [
            *load_migrations(),
            Migration("9999_companion.sql", f"{self.layout.create('{table}_companion')}{view}\n"),
        ]


LAYOUTS: dict[str, Layout | Companion | None] = {
    # The first version of the table, to which the others are compared.
    "metric, agent, day": Layout(_METRIC_FIRST, 8192, rate=0.01, by_user=False, codecs=_OLD_CODECS),
    "chosen": None,
    "larger granules": Layout(_DAY_METRIC, 8192),
    "default blocks": Layout(_DAY_METRIC, 1024, times=0),
    "blocks x 2": Layout(_DAY_METRIC, 1024, times=2),
    "blocks x 8": Layout(_DAY_METRIC, 1024, times=8),
    "no index, no projection": Layout(_DAY_METRIC, 1024, rate=0, by_user=False),
    "agent, day, metric": Layout(_AGENT_METRIC, 1024),
    "agent, day, execution": Layout(_AGENT_EXECUTION, 2048, times=0, rate=0.001),
    # Its queries are asked of the first table; what the second would answer costs what it does in the layout above.
    "chosen, with a companion": Companion(Layout(_AGENT_EXECUTION, 2048, times=0, rate=0, by_user=False)),
}
"""By name; None is the layout of the migration."""
