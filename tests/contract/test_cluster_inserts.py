"""INSERTs into a cluster of two shards: where rows are stored, and what retried and failed INSERTs leave.

The tables are those of the migrations for a cluster, but without `ON CLUSTER` and replication: see
`deploy.local.cluster`.
"""

import re
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from clickhouse_driver.errors import ServerException

from deploy.local.cluster import Cluster
from deploy.local.process import LOOPBACK
from tests.support.events import block_of, many_events
from tests.support.proxy import FaultProxy
from tests.support.rows import insert_rows
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.server_comparison import find_separate_servers
from worker.clickhouse.store import ClickHouseStore
from worker.clickhouse.view import DeduplicatedView
from worker.core.model import Row
from worker.core.outcome import WRITTEN, OutcomeKind
from worker.core.times import DAY
from worker.events.block import Block
from worker.ports import RowKey, ViewRow

ALL_CONNECTION_TRIES_FAILED = 279
VIOLATED_CONSTRAINT = 469
INITIATOR, OTHER = 0, 1
"""Positions of the shards: the one that the worker is connected to, and the other one."""
EVENTS = many_events(20)

Rows = list[tuple[str, int]]
OpenStore = Callable[[ClickHouseTarget], ClickHouseStore]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(started: Cluster) -> Iterator[Cluster]:
    """A cluster with new tables; a test may leave a shard killed."""
    started.create_tables()
    started.run_on_each("ALTER TABLE execution_metrics_local ADD CONSTRAINT not_negative CHECK metric_value >= 0")
    yield started
    for engine in started.engines:
        if not engine.process.running:
            engine.start()
        with engine.client() as client:
            client.execute(f"DROP DATABASE {started.database} SYNC")


@pytest.fixture
def store(cluster: Cluster, stores: OpenStore) -> ClickHouseStore:
    return stores(cluster.target(timeout_seconds=10.0))


@pytest.fixture
def shard_of(cluster: Cluster) -> list[int]:
    """The shard of each of EVENTS, by the sharding key of the table."""
    with cluster.engines[0].client() as client:
        ids = [event.execution_id for event in EVENTS]
        shards = client.execute("SELECT cityHash64(id) %% 2 FROM (SELECT arrayJoin(%(ids)s) AS id)", {"ids": ids})
    return [shard for (shard,) in shards]


def rows_of_shard(cluster: Cluster, shard: int, table: str = "execution_metrics_local") -> Rows:
    """Metric and execution of every row of a table of one engine; repeated rows included."""
    with cluster.engines[shard].client(cluster.database) as client:
        rows = client.execute(f"SELECT metric_type, execution_id FROM {table}")  # noqa: S608 - ours
    return sorted((metric, UUID(execution).int) for metric, execution in rows)


def rows_of_view(cluster: Cluster, engine: int = INITIATOR) -> Rows:
    return rows_of_shard(cluster, engine, "execution_metrics_deduplicated")


def expected(block: Block) -> Rows:
    return sorted((row.metric, UUID(row.event.execution_id).int) for row in block.rows())


def expected_on(block: Block, shard_of: list[int], shard: int) -> Rows:
    return [(metric, execution) for metric, execution in expected(block) if shard_of[execution] == shard]


def block_with_violation(shard_of: list[int], shard: int) -> tuple[Block, int, int]:
    """A block with one row on `shard` that violates the constraint.

    Returns:
        The block, the position of that row in it, and its position among the rows of the shard, which differs.
    """
    of_shard = [position for position, found in enumerate(shard_of) if found == shard]
    position = of_shard[-1]
    rows = [Row(event, "m", -1.0 if number == position else 1.0) for number, event in enumerate(EVENTS)]
    assert position != len(of_shard) - 1
    return Block.from_rows(202601, rows), position, len(of_shard) - 1


async def test_repeated_block_is_stored_once_on_the_shards_of_its_executions(
    cluster: Cluster, store: ClickHouseStore, shard_of: list[int]
) -> None:
    block = block_of(EVENTS, ["a", "b"])
    for _ in range(3):
        assert await store.insert(block) == WRITTEN
    for shard in (INITIATOR, OTHER):
        rows = rows_of_shard(cluster, shard)
        assert rows == expected_on(block, shard_of, shard)
        assert rows


async def test_view_of_every_engine_shows_each_row_of_overlapping_blocks_once(
    cluster: Cluster, store: ClickHouseStore
) -> None:
    cluster.run_on_each("SYSTEM STOP MERGES execution_metrics_local")
    first, second = block_of(EVENTS[:12], ["a"]), block_of(EVENTS[6:], ["a"])
    assert await store.insert(first) == WRITTEN
    assert await store.insert(second) == WRITTEN
    everything = sorted({*expected(first), *expected(second)})
    stored = rows_of_shard(cluster, INITIATOR) + rows_of_shard(cluster, OTHER)
    assert len(stored) == len(first) + len(second)
    assert rows_of_view(cluster, INITIATOR) == rows_of_view(cluster, OTHER) == everything


@pytest.mark.parametrize(
    ("shard", "received_from"), [(INITIATOR, ""), (OTHER, r"Received from 127.0.0.1:\d+. DB::Exception: ")]
)
async def test_constraint_is_evaluated_over_the_block_because_a_refusal_counts_the_rows_of_its_shard(
    store: ClickHouseStore, shard_of: list[int], shard: int, received_from: str
) -> None:
    block, position, position_on_shard = block_with_violation(shard_of, shard)
    refused = await store.insert(block)
    assert (refused.code, refused.name) == (VIOLATED_CONSTRAINT, "VIOLATED_CONSTRAINT")
    # ClickHouse counts from 1.
    assert re.match(
        rf"{received_from}Constraint `not_negative` for table metrics.execution_metrics_local \([0-9a-f-]+\) "
        rf"is violated at row {position_on_shard + 1}. Expression: \(metric_value >= 0\). "
        r"Column values: metric_value = -1[.:]",
        refused.message,
    )
    assert refused.row is None
    assert refused.constraint is not None
    assert await store.find_violating_rows(refused.constraint, block) == [position]


@pytest.mark.parametrize("shard", [INITIATOR, OTHER])
async def test_refused_insert_may_be_written_on_the_other_shard(
    cluster: Cluster, store: ClickHouseStore, shard_of: list[int], shard: int
) -> None:
    """Measured, 40 inserts each: refused by the initiator, the other shard wrote 35; the other way round all 40."""
    block, position, _ = block_with_violation(shard_of, shard)
    for _ in range(2):
        assert (await store.insert(block)).kind is OutcomeKind.REFUSED
        assert rows_of_shard(cluster, shard) == []
        assert rows_of_shard(cluster, 1 - shard) in ([], expected_on(block, shard_of, 1 - shard))

    _, valid = block.split_rows([position])
    assert await store.insert(valid) == WRITTEN
    assert rows_of_view(cluster) == expected(valid)


async def test_insert_fails_while_a_shard_is_down_and_a_retry_stores_each_row_once(
    cluster: Cluster, store: ClickHouseStore, shard_of: list[int]
) -> None:
    block = block_of(EVENTS, ["a", "b"])
    cluster.engines[OTHER].kill()
    for _ in range(2):
        unavailable = await store.insert(block)
        assert unavailable.code == ALL_CONNECTION_TRIES_FAILED
        assert "Connection refused" in unavailable.message
        # "Wrote 1 blocks … on shard 0" in the message is of what was sent, not of what was kept.
        assert rows_of_shard(cluster, INITIATOR) == []
    assert await store.insert(Block(202601)) == WRITTEN, "an INSERT of no rows reaches no remote shard"
    with pytest.raises(ServerException) as unread:
        rows_of_view(cluster)
    assert unread.value.code == ALL_CONNECTION_TRIES_FAILED

    cluster.engines[OTHER].start()
    assert await store.insert(block) == WRITTEN
    for shard in (INITIATOR, OTHER):
        assert rows_of_shard(cluster, shard) == expected_on(block, shard_of, shard)
    assert rows_of_view(cluster) == expected(block)


async def test_insert_times_out_while_a_shard_hangs_and_a_retry_shows_each_row_once(
    cluster: Cluster, stores: OpenStore
) -> None:
    block = block_of(EVENTS, ["a", "b"])
    store = stores(cluster.target(timeout_seconds=1.0))
    cluster.engines[OTHER].process.pause()
    try:
        unavailable = await store.insert(block)
    finally:
        cluster.engines[OTHER].process.resume()
    assert unavailable.code is None
    assert await stores(cluster.target()).insert(block) == WRITTEN
    assert rows_of_view(cluster) == expected(block)


async def test_audit_reads_rows_of_both_shards_by_key(cluster: Cluster, store: ClickHouseStore) -> None:
    block = block_of(EVENTS, ["a", "b"])
    assert await store.insert(block) == WRITTEN
    keys = [
        RowKey(row.event.completed_at // DAY, row.metric, row.event.agent_name, row.event.execution_id)
        for row in block.rows()
    ]
    found: dict[RowKey, ViewRow] = {}
    view = DeduplicatedView(cluster.target(timeout_seconds=10.0))
    view.read_rows([*keys[1:], keys[1]._replace(day=0)], found.__setitem__)
    view.close()
    assert found.keys() == {*keys[1:]}


@pytest.mark.parametrize("refreshed", [True, False])
def test_views_and_roll_up_add_up_both_shards(cluster: Cluster, refreshed: bool) -> None:
    with cluster.engines[OTHER].client(cluster.database) as client:
        client.execute("CREATE TABLE everything AS execution_metrics_local")
        insert_rows(client, 3_000, of=3_000, table="everything")
        client.execute(
            "INSERT INTO execution_metrics SELECT * FROM everything SETTINGS distributed_foreground_insert = 1"
        )
        if refreshed:
            cluster.run_on_each("SYSTEM REFRESH VIEW execution_metrics_per_day_refresh_local")
            cluster.run_on_each("SYSTEM WAIT VIEW execution_metrics_per_day_refresh_local")
        assert all(rows_of_shard(cluster, shard) for shard in (INITIATOR, OTHER))
        groups = "SELECT {}, toDate32(completed_at) AS day, count(), {} FROM everything {} GROUP BY ALL"
        succeeded = groups.format("agent_name", "sum(metric_value)", "WHERE metric_type = 'result_success'")
        per_day = groups.format("metric_type, agent_name", "min(metric_value), max(metric_value)", "")
        for columns, view, equivalent in (
            ("metric_type, agent_name, day, executions, least, most", "per_day", per_day),
            ("agent_name, day, executions, succeeded", "success_per_day", succeeded),
            ("count()", "executions", "SELECT 300"),
            ("sum(executions)", "per_minute", "SELECT 3000"),
            ("*", "user_days", "SELECT DISTINCT user_id, toDate32(completed_at), agent_name FROM everything"),
        ):
            answer = client.execute(f"SELECT {columns} FROM execution_metrics_{view} ORDER BY ALL")  # noqa: S608 - ours
            assert answer == client.execute(f"{equivalent} ORDER BY ALL")


async def test_block_whose_answer_was_lost_is_repeated_through_another_server_and_stored_once(
    cluster: Cluster, stores: OpenStore, shard_of: list[int]
) -> None:
    async with FaultProxy(cluster.engines[INITIATOR].port) as proxy:
        others = cluster.engines[OTHER]
        servers = f"{LOOPBACK}:{proxy.port},{others.host}:{others.port}"
        store = stores(cluster.target(timeout_seconds=10.0, host=servers))
        assert await store.probe() == WRITTEN
        block = block_of(EVENTS, ["a", "b"])
        proxy.lose_answer_after(2000)
        lost = await store.insert(block)
        assert lost.kind is OutcomeKind.UNAVAILABLE
        assert lost.message.startswith(f"{LOOPBACK}:{proxy.port}: ")
        assert await store.insert(block) == WRITTEN
    for shard in (INITIATOR, OTHER):
        assert rows_of_shard(cluster, shard) == expected_on(block, shard_of, shard)


def test_servers_with_the_same_distributed_table_have_one_table(cluster: Cluster) -> None:
    target = cluster.target(host=",".join(f"{engine.host}:{engine.port}" for engine in cluster.engines))
    assert find_separate_servers(target) is None
