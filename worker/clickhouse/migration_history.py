"""The table `TABLE_migrations` in ClickHouse: which migrations were applied to the database, and when."""

from worker.clickhouse.connection import ClickHouseTarget, run_statement

_COLUMNS = """(
    name       String,
    checksum   String COMMENT 'SHA-256 of the file as it was applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)"""
_REPLICATED_ENGINE = "ReplicatedMergeTree('/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}')"
"""One history for the whole cluster: the path is without the shard, and each server is a replica."""


def load_checksums(target: ClickHouseTarget) -> dict[str, str]:
    """The checksum of each applied migration, by its name; empty where none was applied yet. Raises StoreError."""
    table = _history_table(target)
    exists = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = %(name)s"
    if run_statement(target, exists, {"name": table}) == [(0,)]:
        return {}
    if target.cluster:  # a record that was written through another server may not be here yet
        run_statement(target, f"SYSTEM SYNC REPLICA {table}")
    # The name of the table is an identifier: Settings checks that.
    return dict(run_statement(target, f"SELECT name, checksum FROM {table}"))  # noqa: S608 # nosec B608


def statements_to_record(target: ClickHouseTarget, name: str, checksum: str) -> list[str]:
    """The statements that create the table, if it is missing, and record a migration in it."""
    table, engine = _history_table(target), _REPLICATED_ENGINE if target.cluster else "MergeTree"
    return [
        f"CREATE TABLE IF NOT EXISTS {table}{target.topology.on_cluster}\n{_COLUMNS}\nENGINE = {engine} ORDER BY name",
        f"INSERT INTO {table} (name, checksum) VALUES ('{name}', '{checksum}')",  # noqa: S608 # nosec B608
    ]


def _history_table(target: ClickHouseTarget) -> str:
    return f"{target.table}_migrations"
