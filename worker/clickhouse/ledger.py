"""Which migrations were applied here: a table beside that of the rows."""

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.migration import Migration
from worker.clickhouse.topology import Topology

_COLUMNS = """(
    name       String,
    checksum   String COMMENT 'SHA-256 of the file as it was applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)"""
# One ledger for the whole cluster: a path without the shard, and each server a replica of it.
_SHARED = "ReplicatedMergeTree('/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}')"


class Ledger:
    """What `target` has of the migrations.

    Every method raises StoreError as the server or the connection failed.
    """

    def __init__(self, target: ClickHouseTarget, topology: Topology) -> None:
        self._target = target
        self._topology = topology
        self._name = f"{topology.table}_migrations"

    def applied(self) -> dict[str, str]:
        """Name and checksum of each migration that ran; empty where none ever did."""
        found = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = %(name)s"
        if run_statement(self._target, found, {"name": self._name}) == [(0,)]:
            return {}
        if self._topology.cluster:  # what was written down through another server may not have come here yet
            run_statement(self._target, f"SYSTEM SYNC REPLICA {self._name}")
        # The name of the table is an identifier: Settings sees to that.
        return dict(run_statement(self._target, f"SELECT name, checksum FROM {self._name}"))  # noqa: S608 # nosec B608

    def begin(self) -> None:
        """Make the table if it is not there."""
        run_statement(self._target, self.begin_statement)

    def record(self, migration: Migration) -> None:
        """Take down that `migration` ran."""
        run_statement(self._target, self._insert, [(migration.name, migration.checksum)])

    @property
    def _insert(self) -> str:
        return f"INSERT INTO {self._name} (name, checksum) VALUES"

    @property
    def begin_statement(self) -> str:
        """What `begin` runs."""
        engine = _SHARED if self._topology.cluster else "MergeTree"
        where = f"{self._name}{self._topology.on_cluster}"
        return f"CREATE TABLE IF NOT EXISTS {where}\n{_COLUMNS}\nENGINE = {engine} ORDER BY name"

    def record_statement(self, migration: Migration) -> str:
        """What `record` comes to, for a person to run."""
        return f"{self._insert} ('{migration.name}', '{migration.checksum}')"
