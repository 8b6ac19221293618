"""Two servers with the worker's table, of which one is killed or hangs. They are separate, so tests count the union.

`test_cluster_inserts.py` has a lost answer and the retry through another server of a cluster.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from deploy.local.engine_process import EngineProcess
from tests.support.events import block_of, many_events
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import Migrations, MigrationState
from worker.clickhouse.server_comparison import find_separate_servers
from worker.clickhouse.servers import RecentFailures
from worker.clickhouse.store import ClickHouseStore
from worker.commands.migrate import _choose_server
from worker.core.outcome import WRITTEN, OutcomeKind

OpenStore = Callable[[ClickHouseTarget, int], ClickHouseStore]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """The preferred server, which tests kill and suspend."""
    with EngineProcess(tmp_path_factory.mktemp("first")) as engine:
        yield engine


@pytest.fixture
def both(first: EngineProcess, target: ClickHouseTarget) -> Iterator[ClickHouseTarget]:
    """Both servers, with tables of the test's own; the second is the one that all tests share."""
    with first.client() as client:
        client.execute(f"CREATE DATABASE `{target.database}`")
    migrate(replace(target, port=first.port))
    yield replace(
        target,
        host=f"{first.host}:{first.port},{target.host}:{target.port}",
        connect_timeout_seconds=1.0,
        failures=RecentFailures(),
    )
    first.process.resume() if first.process.running else first.start()


def metrics_on(engine: EngineProcess, target: ClickHouseTarget) -> list[str]:
    with engine.client(target.database) as client:
        return [metric for (metric,) in client.execute("SELECT DISTINCT metric_type FROM execution_metrics ORDER BY 1")]


async def insert(store: ClickHouseStore, metrics: Sequence[str]) -> None:
    for metric in metrics:
        assert await store.insert(block_of(many_events(3), [metric])) == WRITTEN


async def test_killed_server_is_passed_over_and_used_again_when_it_is_back(
    first: EngineProcess, engine: EngineProcess, both: ClickHouseTarget, stores: OpenStore
) -> None:
    store = stores(replace(both, failures=RecentFailures(avoid_seconds=0)), 1)
    await insert(store, ["a"])
    first.kill()
    await insert(store, ["b", "c"])
    first.start()
    await insert(store, ["d"])
    assert metrics_on(first, both) == ["a", "d"]
    assert metrics_on(engine, both) == ["b", "c"]


async def test_frozen_server_is_passed_over_within_the_attempt(
    first: EngineProcess, engine: EngineProcess, both: ClickHouseTarget, stores: OpenStore
) -> None:
    connected = stores(both, 1)
    await insert(connected, ["a"])
    first.process.pause()
    await insert(connected, ["b"])
    await insert(stores(replace(both, failures=RecentFailures()), 1), ["c"])
    first.process.resume()
    assert metrics_on(first, both) == ["a"]
    assert metrics_on(engine, both) == ["b", "c"]


async def test_server_without_the_table_is_passed_over_within_the_attempt(
    first: EngineProcess, engine: EngineProcess, both: ClickHouseTarget, stores: OpenStore
) -> None:
    with first.client(both.database) as client:
        client.execute("RENAME TABLE execution_metrics TO moved")
    store = stores(both, 1)
    await insert(store, ["a"])
    assert metrics_on(engine, both) == ["a"]
    with engine.client(both.database) as client:
        client.execute("RENAME TABLE execution_metrics TO moved")
    outcome = await store.probe()
    assert (outcome.kind, outcome.code) == (OutcomeKind.MISCONFIGURED, 60)


def test_migrate_names_the_one_server_that_it_uses(
    first: EngineProcess, both: ClickHouseTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = both.servers
    assert _choose_server(both).servers == [one]
    first.kill()
    assert set(Migrations(_choose_server(both)).status().values()) == {MigrationState.APPLIED}
    assert capsys.readouterr().err.splitlines() == [
        f"every statement runs on {server}; `metrics-worker check` compares it with the others"
        for server in (one, other)
    ]


def test_servers_with_tables_of_their_own_are_named(both: ClickHouseTarget) -> None:
    one, other = both.servers
    assert find_separate_servers(replace(both, host=str(one))) is None
    assert find_separate_servers(replace(both, host=f"{other},localhost:{other.port}")) is None
    problem = find_separate_servers(both) or ""
    assert f"{one} has ReplacingMergeTree of its own" in problem
    assert f"{other} has ReplacingMergeTree of its own" in problem
    odd = find_separate_servers(replace(both, host=f"{one},{other},localhost:{other.port}")) or ""
    assert f"servers: {one} has" in odd
    assert f"{other} has" not in odd


async def test_server_in_use_follows_a_failover_on_every_connection(
    first: EngineProcess, both: ClickHouseTarget, stores: OpenStore
) -> None:
    store, (one, other) = stores(both, 2), map(str, both.servers)

    def in_use() -> dict[str, float]:
        (family,) = store._telemetry.state.clickhouse_server_in_use.collect()
        return {sample.labels["server"]: sample.value for sample in family.samples}

    assert in_use() == {one: 0, other: 0}
    await asyncio.gather(insert(store, ["a"]), insert(store, ["b"]))
    assert in_use() == {one: 1, other: 0}
    first.kill()
    await insert(store, ["c"])
    assert in_use() == {one: 0, other: 1}
    store.close()
    assert in_use() == {one: 0, other: 0}
