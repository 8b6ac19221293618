"""The table `TABLE_migrations` in ClickHouse: which migrations were applied to the database, and when."""

from worker.clickhouse.connection import ClickHouseTarget, run_statement

_COLUMNS = """(
    name       String,
    checksum   String COMMENT 'SHA-256 of the file as it was applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)"""
_REPLICATED_ENGINE = "ReplicatedMergeTree('/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}')"
"""One history for the whole cluster: the path is without the shard, and each server is a replica."""


class MigrationHistory:
    """The applied migrations of the tables of `target`.

    Raises:
        StoreError: ClickHouse refuses or cannot be reached.
    """

    def __init__(self, target: ClickHouseTarget) -> None:
        self._target = target
        self._table = f"{target.table}_migrations"

    def load_checksums(self) -> dict[str, str]:
        """The checksum of each applied migration, by its name; empty where none was applied yet."""
        exists = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = %(name)s"
        if run_statement(self._target, exists, {"name": self._table}) == [(0,)]:
            return {}
        if self._target.cluster:  # a record that was written through another server may not be here yet
            run_statement(self._target, f"SYSTEM SYNC REPLICA {self._table}")
        # The name of the table is an identifier: Settings checks that.
        return dict(run_statement(self._target, f"SELECT name, checksum FROM {self._table}"))  # noqa: S608 # nosec B608

    def statements_to_record(self, name: str, checksum: str) -> list[str]:
        """The statements that create the table, if it is missing, and record a migration in it."""
        engine = _REPLICATED_ENGINE if self._target.cluster else "MergeTree"
        table = f"{self._table}{self._target.topology.on_cluster}"
        return [
            f"CREATE TABLE IF NOT EXISTS {table}\n{_COLUMNS}\nENGINE = {engine} ORDER BY name",
            f"INSERT INTO {self._table} (name, checksum) VALUES ('{name}', '{checksum}')",  # noqa: S608 # nosec B608
        ]
