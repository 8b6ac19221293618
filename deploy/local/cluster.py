"""Several local engines as the shards of one ClickHouse cluster, with the tables of the migrations.

A Distributed table on each engine connects to the others over TCP, through `deploy.local.engine`. There is no Keeper,
so no statement runs `ON CLUSTER` and no table is replicated: each statement of the migrations runs on each engine, and
local tables have engines that are not replicated.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self
from xml.sax.saxutils import escape

from deploy.local.engine_process import EngineProcess
from deploy.local.process import LOOPBACK, free_port
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import load_migrations
from worker.clickhouse.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NAME = "metrics"
_REPLICATED = re.compile(r"\bReplicated(\w*MergeTree)\('[^']*', '\{replica\}', ")
_REPLICATED_WINDOW = re.compile(r"\breplicated_deduplication_window\b")


class Cluster:
    """A cluster of engines, started and stopped as a context manager. `target` connects to engine 0, the first shard.

    Each engine has a folder of its own, and can be killed and started again on the same port.

    Args:
        directory: the folder of the folders of the engines.
        shards: the number of engines; each is one shard with one replica.
        database: the database of the tables; `create_tables` creates it.
        table: the Distributed table; `{table}_local` stores the rows on each engine.
        password: of each engine's only user.
    """

    def __init__(
        self,
        directory: Path,
        *,
        shards: int = 2,
        database: str = "metrics",
        table: str = "execution_metrics",
        password: str = "",
    ) -> None:
        self._topology = Topology(database, table, NAME)
        self._password = password
        ports = [free_port() for _ in range(shards)]
        self.engines = [
            self._engine(directory / f"shard-{number}", ports, port) for number, port in enumerate(ports, start=1)
        ]

    def _engine(self, directory: Path, ports: Sequence[int], port: int) -> EngineProcess:
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "config.xml"
        config.write_text(_configuration(ports, port, self._password))
        return EngineProcess(directory, port, password=self._password, config=config)

    @property
    def name(self) -> str:
        """The value of CLICKHOUSE_CLUSTER."""
        return NAME

    @property
    def database(self) -> str:
        """The database of the tables."""
        return self._topology.database

    @property
    def local_table(self) -> str:
        """The table that stores the rows of its shard on each engine."""
        return self._topology.stored_table

    def target(self, **options: object) -> ClickHouseTarget:
        """The Distributed table of the first engine; `options` are those of ClickHouseTarget."""
        first = self.engines[0]
        defaults = {
            "host": first.host,
            "database": self.database,
            "table": self._topology.table,
            "password": self._password,
            "cluster": NAME,
        }
        return ClickHouseTarget(port=first.port, **{**defaults, **options})  # type: ignore[arg-type]

    def start(self) -> None:
        """Start all engines at once; if one fails, stop all."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            with ThreadPoolExecutor(len(self.engines)) as executor:
                list(executor.map(EngineProcess.start, self.engines))
            undo.pop_all()

    def create_tables(self) -> None:
        """Create the database and the tables and views of the migrations, where they are missing."""
        for engine in self.engines:
            with engine.client() as client:
                client.execute(f"CREATE DATABASE IF NOT EXISTS `{self.database}`")
            with engine.client(self.database) as client:
                for statement in self._statements():
                    client.execute(statement)

    def _statements(self) -> Iterator[str]:
        for migration in load_migrations():
            for statement in migration.statements(self._topology):
                yield _without_keeper(statement.replace(self._topology.on_cluster, ""))

    def run_on_each(self, statement: str) -> None:
        """Run one statement in the database on each engine, as `ON CLUSTER` does."""
        for engine in self.engines:
            with engine.client(self.database) as client:
                client.execute(statement)

    def stop(self) -> None:
        """Stop all engines."""
        for engine in self.engines:
            engine.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _without_keeper(statement: str) -> str:
    """Replace the engines that need a Keeper by plain ones."""
    plain = _REPLICATED.sub(r"\1(", statement)
    return statement if plain == statement else _REPLICATED_WINDOW.sub("non_replicated_deduplication_window", plain)


def _configuration(ports: Sequence[int], own_port: int, password: str) -> str:
    """The configuration file of an engine, which recognizes its own shard by `tcp_port`.

    Without compression, which `deploy.local.engine` does not support.
    """
    shards = "".join(
        f"""
            <shard>
                <internal_replication>true</internal_replication>
                <replica>
                    <host>{LOOPBACK}</host>
                    <port>{port}</port>
                    <password>{escape(password)}</password>
                    <compression>false</compression>
                </replica>
            </shard>"""
        for port in ports
    )
    return f"""<clickhouse>
    <tcp_port>{own_port}</tcp_port>
    <remote_servers>
        <{NAME}>{shards}
        </{NAME}>
    </remote_servers>
</clickhouse>
"""
