"""The same SQL for a cluster, as far as the engine can show it.

What is shown: ClickHouse's own parser takes every statement; and without `ON CLUSTER`, which needs a server's queue,
every CREATE runs on an engine that knows a cluster of itself and has a Keeper in memory. That Keeper leaves replicated
tables read-only, so no ALTER runs here and no row is written: what replicas do with rows is not shown. What shards do
with rows is in `test_cluster_inserts.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migration_history import MigrationHistory
from worker.clickhouse.migrations import Migrations, known_migrations
from worker.clickhouse.table_check import schema_differences
from worker.clickhouse.topology import Topology

ON_CLUSTER = " ON CLUSTER `metrics`"
CONFIG = """<clickhouse>
    <zookeeper><implementation>testkeeper</implementation></zookeeper>
    <macros><shard>01</shard><replica>r1</replica></macros>
    <tcp_port>9000</tcp_port>
    <remote_servers><metrics><shard><internal_replication>true</internal_replication>
        <replica><host>127.0.0.1</host><port>9000</port></replica>
    </shard></metrics></remote_servers>
</clickhouse>"""
TOPOLOGY = Topology("tenant's", "execution_metrics", "metrics")


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """The one server of a cluster `metrics`, with a database of which the name needs quoting."""
    directory = tmp_path_factory.mktemp("member")
    config = Path(directory / "config.xml")
    config.write_text(CONFIG)
    engine = EngineProcess(directory, config=config)
    engine.start()
    with engine.client() as client:
        client.execute("CREATE DATABASE `tenant's`")
    yield engine
    engine.kill()  # the Keeper in memory does not let replicated tables end in time


@pytest.fixture(scope="module")
def made(member: EngineProcess) -> Iterator[Client]:
    """A client of the database in which every CREATE has run, each twice, as after a crash."""
    history, _ = MigrationHistory(target(member), TOPOLOGY).record_statements("", "")
    with member.client(TOPOLOGY.database) as client:
        for migration in known_migrations():
            for statement in [history, *migration.statements(TOPOLOGY)] * 2:
                if not statement.startswith("ALTER"):
                    client.execute(statement.replace(ON_CLUSTER, ""))
        yield client


def target(member: EngineProcess) -> ClickHouseTarget:
    return ClickHouseTarget(member.host, member.port, TOPOLOGY.database)


def test_every_statement_is_for_every_server_and_clickhouse_parses_it(engine: EngineProcess, database: str) -> None:
    there = ClickHouseTarget(engine.host, engine.port, database)
    planned = Migrations(there, "metrics", retention_days=90).plan()
    assert len(planned) > len(Migrations(there, retention_days=90).plan()), "Distributed tables are added"
    with engine.client(database) as client:
        for statement in planned:
            if not statement.startswith("INSERT"):
                assert ON_CLUSTER in statement
                client.execute(f"EXPLAIN AST {statement}")


def test_rows_are_replicated_and_the_name_that_people_use_is_of_all_shards(made: Client) -> None:
    tables = dict(made.execute("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"))
    assert tables["execution_metrics_local"].startswith(
        "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/tenant\\'s/execution_metrics_local', '{replica}', "
        "recorded_at)"
    )
    assert " replicated_deduplication_window = 10000" in tables["execution_metrics_local"]
    assert tables["execution_metrics"] == (
        "Distributed('metrics', 'tenant\\'s', 'execution_metrics_local', cityHash64(execution_id))"
    )
    assert tables["execution_metrics_per_day_states_local"].startswith("MergeTree")
    assert tables["execution_metrics_per_day_states"].startswith("Distributed(")
    assert tables["execution_metrics_migrations"].startswith("ReplicatedMergeTree(")


def test_the_roll_up_is_of_the_rows_of_its_server_and_the_views_are_of_all(made: Client) -> None:
    texts = dict(made.execute("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"))
    refresh = texts["execution_metrics_per_day_refresh_local"]
    assert "execution_metrics_local FINAL" in refresh
    assert "execution_metrics_per_day_states_local" in refresh
    for view in ("deduplicated", "per_minute", "per_day", "success_per_day", "executions"):
        assert "_local" not in texts[f"execution_metrics_{view}"]
        assert made.execute(f"SELECT count() FROM execution_metrics_{view}") == [(0,)]  # noqa: S608 - ours


def test_the_table_of_a_cluster_fits(member: EngineProcess, made: Client) -> None:
    assert made.execute("SELECT engine FROM system.tables WHERE name = 'execution_metrics'") == [("Distributed",)]
    assert schema_differences(target(member)) == []


def test_what_is_below_a_distributed_table_is_looked_at_too(member: EngineProcess) -> None:
    with member.client() as client:
        client.execute("CREATE DATABASE `it's other`")
    with member.client("it's other") as client:
        made = known_migrations()[0].statements(Topology("it's other", "execution_metrics", "metrics"))
        client.execute(made[0].replace(ON_CLUSTER, "").replace("execution_id)", "source_offset)"))
        client.execute(made[1].replace(ON_CLUSTER, "").replace("cityHash64(execution_id)", "rand()"))
    sharding, sorting = schema_differences(replace(target(member), database="it's other"))
    assert "does not shard by execution_id" in sharding
    assert sorting.startswith("sorting key is (metric_type, agent_name, toDate32(completed_at), source_offset)")


def test_a_column_that_is_added_is_added_to_both(engine: EngineProcess) -> None:
    written = "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS region String"
    statements = list(TOPOLOGY.statements(written))
    assert statements == [
        "ALTER TABLE execution_metrics_local ON CLUSTER `metrics` ADD COLUMN IF NOT EXISTS region String",
        "ALTER TABLE execution_metrics ON CLUSTER `metrics` ADD COLUMN IF NOT EXISTS region String",
    ]
    with engine.client() as client:
        for statement in statements:
            client.execute(f"EXPLAIN AST {statement}")


def test_a_table_that_goes_goes_on_both() -> None:
    assert list(TOPOLOGY.statements("DROP TABLE IF EXISTS {table}_per_day_states")) == [
        "DROP TABLE IF EXISTS execution_metrics_per_day_states_local ON CLUSTER `metrics`",
        "DROP TABLE IF EXISTS execution_metrics_per_day_states ON CLUSTER `metrics`",
    ]
