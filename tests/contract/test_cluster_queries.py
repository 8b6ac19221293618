"""Queries of a Distributed table whose rows are on two engines answer as one table with all rows."""

from collections.abc import Iterator

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from deploy.local.cluster import Cluster
from tests.support.rows import insert_rows

EXECUTIONS = 300
NOT_IMPLEMENTED = 48
DISTRIBUTED, SINGLE_TABLE = "execution_metrics", "everything"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.create_tables()
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Client]:
    """A client of the first engine, where the table `everything` has the rows of both shards."""
    with cluster.engines[0].client(cluster.database) as client:
        client.execute("CREATE TABLE everything AS execution_metrics_local")
        insert_rows(client, EXECUTIONS * 10, of=EXECUTIONS * 10, table=SINGLE_TABLE)
        client.execute(
            "INSERT INTO execution_metrics SELECT * FROM everything SETTINGS distributed_foreground_insert = 1"
        )
        yield client


def test_both_shards_have_rows(cluster: Cluster, client: Client) -> None:
    counts = []
    for engine in cluster.engines:
        with engine.client(cluster.database) as own:
            ((rows,),) = own.execute("SELECT count() FROM execution_metrics_local")
            counts.append(rows)
    assert all(counts)
    assert sum(counts) == EXECUTIONS * 10
    assert client.execute("SELECT count() FROM everything") == [(sum(counts),)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count() FROM {table}",
        "SELECT count() FROM {table} FINAL WHERE metric_type = 'cpu_percent'",
        "SELECT count() FROM {table} WHERE metric_type = 'none'",
        "SELECT * FROM {table} ORDER BY ALL",
        "SELECT metric_type, source_offset + 1 AS next FROM {table} WHERE agent_name = 'agent-03' ORDER BY ALL",
        "SELECT agent_name AS a, agent_name AS b FROM {table} ORDER BY agent_name DESC LIMIT 3",
        "SELECT DISTINCT metric_type FROM {table} ORDER BY metric_type",
        "SELECT metric_type, count(), countIf(user_id IS NULL) FROM {table} GROUP BY metric_type ORDER BY metric_type",
        "SELECT toDate32(completed_at) AS d, max(metric_value) - min(metric_value) FROM {table} GROUP BY d ORDER BY d",
        "SELECT source_partition, count() AS n FROM {table} GROUP BY source_partition HAVING n > 2 ORDER BY n, 1",
        "SELECT uniqExact(source_topic, source_partition, source_offset, metric_type) FROM {table}",
        "SELECT quantilesExact(0.5, 0.9)(metric_value)[2], round(avg(metric_value), 6) FROM {table}",
        "SELECT agent_name, sum(source_offset) AS s FROM {table} GROUP BY agent_name ORDER BY s DESC, 1 LIMIT 4",
        "SELECT any(a) FROM (SELECT max(agent_name) AS a FROM {table})",
        "SELECT count() FROM {table} WHERE metric_type IN ('count(', ') GROUP BY x', 'retries')",
    ],
)
def test_distributed_query_answers_as_one_table(client: Client, query: str) -> None:
    answer = client.execute(query.format(table=SINGLE_TABLE), with_column_types=True)
    assert client.execute(query.format(table=DISTRIBUTED), with_column_types=True) == answer


@pytest.mark.parametrize(
    "query",
    [
        "SELECT source_offset FROM execution_metrics ORDER BY metric_value LIMIT 3",
        "SELECT source_offset FROM execution_metrics LIMIT 1 BY metric_type",
        "SELECT agent_name, count() FROM execution_metrics GROUP BY agent_name WITH TOTALS",
        "SELECT agent_name, metric_type, count() FROM execution_metrics GROUP BY CUBE(agent_name, metric_type)",
        "SELECT agent_name, count() FROM execution_metrics GROUP BY GROUPING SETS ((agent_name), ())",
    ],
)
def test_query_without_a_mergeable_state_is_refused(client: Client, query: str) -> None:
    with pytest.raises(ServerException) as refused:
        client.execute(query)
    assert refused.value.code == NOT_IMPLEMENTED


def test_connection_between_shards_is_usable_after_a_refusal(client: Client) -> None:
    for _ in range(3):
        with pytest.raises(ServerException):
            client.execute("SELECT source_offset FROM execution_metrics ORDER BY metric_value LIMIT 3")
        assert client.execute("SELECT count() FROM execution_metrics") == [(EXECUTIONS * 10,)]


def test_per_day_view_adds_up_the_roll_ups_of_the_shards(cluster: Cluster, client: Client) -> None:
    cluster.run_on_each("SYSTEM REFRESH VIEW execution_metrics_per_day_refresh_local")
    cluster.run_on_each("SYSTEM WAIT VIEW execution_metrics_per_day_refresh_local")
    assert client.execute("SELECT sum(executions) FROM execution_metrics_per_day") == [(EXECUTIONS * 10,)]
    assert client.execute(
        "SELECT metric_type, agent_name, day, executions, least, most FROM execution_metrics_per_day ORDER BY ALL"
    ) == client.execute(
        "SELECT metric_type, agent_name, toDate32(completed_at) AS day, count(), min(metric_value), max(metric_value) "
        "FROM everything GROUP BY ALL ORDER BY ALL"
    )
