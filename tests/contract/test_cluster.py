"""The SQL of the migrations for a cluster, as far as the local engine can run it.

ClickHouse's own parser takes every statement. Every CREATE runs, without `ON CLUSTER`, which needs the queue of a
server, on an engine that is a cluster of one and has a Keeper in memory. That Keeper leaves replicated tables
read-only, so no ALTER runs here and no row is written. `test_cluster_inserts.py` writes rows to two shards.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migration_history import statements_to_record
from worker.clickhouse.migrations import Migrations, load_migrations
from worker.clickhouse.table_check import find_schema_differences
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
    """The only server of a cluster `metrics`, with a database whose name needs quoting."""
    directory = tmp_path_factory.mktemp("member")
    config = Path(directory / "config.xml")
    config.write_text(CONFIG)
    engine = EngineProcess(directory, config=config)
    engine.start()
    with engine.client() as client:
        client.execute("CREATE DATABASE `tenant's`")
    yield engine
    engine.kill()  # with the Keeper in memory, replicated tables do not stop in time


@pytest.fixture(scope="module")
def client(member: EngineProcess) -> Iterator[Client]:
    """A client of the database in which every CREATE has run twice, as after a crash."""
    history, _ = statements_to_record(replace(target(member), cluster=TOPOLOGY.cluster), "", "")
    with member.client(TOPOLOGY.database) as client:
        for migration in load_migrations():
            for statement in [history, *migration.statements(TOPOLOGY)] * 2:
                if not statement.startswith("ALTER"):
                    client.execute(statement.replace(ON_CLUSTER, ""))
        yield client


def target(member: EngineProcess) -> ClickHouseTarget:
    return ClickHouseTarget(member.host, member.port, TOPOLOGY.database)


def test_every_statement_runs_on_the_cluster_and_is_parsed_by_clickhouse(engine: EngineProcess, database: str) -> None:
    server = ClickHouseTarget(engine.host, engine.port, database)
    planned = Migrations(replace(server, cluster="metrics"), retention_days=90).plan()
    assert len(planned) > len(Migrations(server, retention_days=90).plan()), "Distributed tables are added"
    with engine.client(database) as client:
        for statement in planned:
            if not statement.startswith("INSERT"):
                assert ON_CLUSTER in statement
                client.execute(f"EXPLAIN AST {statement}")


def test_local_table_is_replicated_and_the_table_is_distributed(client: Client) -> None:
    tables = dict(client.execute("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"))
    assert tables["execution_metrics_local"].startswith(
        "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/tenant\\'s/execution_metrics_local', '{replica}', "
        "version)"
    )
    assert " replicated_deduplication_window = 10000" in tables["execution_metrics_local"]
    assert tables["execution_metrics"] == (
        "Distributed('metrics', 'tenant\\'s', 'execution_metrics_local', cityHash64(execution_id))"
    )
    assert tables["execution_metrics_per_day_states_local"].startswith("MergeTree")
    assert tables["execution_metrics_per_day_states"].startswith("Distributed(")
    assert tables["execution_metrics_migrations"].startswith("ReplicatedMergeTree(")


def test_roll_up_reads_the_local_table_and_views_read_all_shards(client: Client) -> None:
    queries = dict(
        client.execute("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()")
    )
    refresh = queries["execution_metrics_per_day_refresh_local"]
    assert "execution_metrics_local FINAL" in refresh
    assert "execution_metrics_per_day_states_local" in refresh
    for view in ("deduplicated", "user_days", "per_minute", "per_day", "success_per_day", "executions"):
        assert "_local" not in queries[f"execution_metrics_{view}"]
        assert client.execute(f"SELECT count() FROM execution_metrics_{view}") == [(0,)]  # noqa: S608 - ours


def test_distributed_table_has_no_schema_differences(member: EngineProcess, client: Client) -> None:
    assert client.execute("SELECT engine FROM system.tables WHERE name = 'execution_metrics'") == [("Distributed",)]
    assert find_schema_differences(target(member)) == []


def test_differences_of_the_local_table_are_found_too(member: EngineProcess) -> None:
    with member.client() as client:
        client.execute("CREATE DATABASE `it's other`")
    with member.client("it's other") as client:
        statements = load_migrations()[0].statements(Topology("it's other", "execution_metrics", "metrics"))
        client.execute(statements[0].replace(ON_CLUSTER, "").replace("execution_id)", "source_partition)"))
        client.execute(statements[1].replace(ON_CLUSTER, "").replace("cityHash64(execution_id)", "rand()"))
    sharding, sorting = find_schema_differences(replace(target(member), database="it's other"))
    assert "does not shard by execution_id" in sharding
    assert sorting.startswith("sorting key is (toDate32(completed_at), metric_type, agent_name, source_partition)")


@pytest.mark.parametrize(
    ("written", "statements"),
    [
        (
            "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS region String",
            [
                "ALTER TABLE execution_metrics_local ON CLUSTER `metrics` ADD COLUMN IF NOT EXISTS region String",
                "ALTER TABLE execution_metrics ON CLUSTER `metrics` ADD COLUMN IF NOT EXISTS region String",
            ],
        ),
        (
            "DROP TABLE IF EXISTS {table}_per_day_states",
            [
                "DROP TABLE IF EXISTS execution_metrics_per_day_states_local ON CLUSTER `metrics`",
                "DROP TABLE IF EXISTS execution_metrics_per_day_states ON CLUSTER `metrics`",
            ],
        ),
    ],
    ids=["ALTER", "DROP"],
)
def test_local_and_distributed_table_are_both_changed(clickhouse: Client, written: str, statements: list[str]) -> None:
    assert list(TOPOLOGY.statements(written)) == statements
    for statement in statements:
        clickhouse.execute(f"EXPLAIN AST {statement}")
