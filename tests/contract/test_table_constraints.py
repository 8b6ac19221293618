"""What constraints say of rows: one suite for ClickHouse and for those in memory that other tests use."""

from collections.abc import Iterator

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.events import event, read
from tests.support.fakes import MemoryConstraints
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.table_constraints import ClickHouseConstraints
from worker.core.errors import StoreError
from worker.core.outcome import OutcomeKind
from worker.events.block import Block
from worker.events.fan_out import FanOut
from worker.ports import TableConstraints

METRICS = {"good": 1, "negative": -1, "another": 2.5, "large": 1_000, "both": -1_000}
RULES = {"metric_value >= 0": lambda row: row.value >= 0, "metric_value < 100": lambda row: row.value < 100}


def block_of(metrics: dict[str, float]) -> Block:
    fan_out = FanOut()
    fan_out.add_event(read(event(metrics=metrics)))
    (block,) = fan_out.blocks.values()
    return block


@pytest.fixture
def on_clickhouse(migrated_target: ClickHouseTarget) -> Iterator[ClickHouseConstraints]:
    constraints = ClickHouseConstraints(migrated_target)
    yield constraints
    constraints.close()


@pytest.fixture(params=["memory", "clickhouse"])
def constraints(request: pytest.FixtureRequest) -> TableConstraints:
    """Two constraints, by which a value is from 0 to below 100."""
    if request.param == "memory":
        return MemoryConstraints(RULES)
    client: Client = request.getfixturevalue("clickhouse")
    for number, rule in enumerate(RULES):
        client.execute(f"ALTER TABLE execution_metrics ADD CONSTRAINT rule_{number} CHECK {rule}")
    found: ClickHouseConstraints = request.getfixturevalue("on_clickhouse")
    return found


@pytest.fixture
def clickhouse(engine: EngineProcess, migrated_target: ClickHouseTarget) -> Iterator[Client]:
    with engine.client(migrated_target.database) as client:
        yield client


async def test_each_violating_row_is_found_once_with_its_constraint(constraints: TableConstraints) -> None:
    for _ in range(2):
        found = await constraints.find_violations(block_of(METRICS))
        assert sorted((row.metric, constraint.expression) for row, constraint in found) == [
            ("both", "metric_value >= 0"),
            ("large", "metric_value < 100"),
            ("negative", "metric_value >= 0"),
        ]
    assert await constraints.find_violations(block_of({"good": 1})) == []


async def test_nothing_is_written(on_clickhouse: ClickHouseConstraints, clickhouse: Client) -> None:
    clickhouse.execute("CREATE MATERIALIZED VIEW seen ENGINE = Memory AS SELECT metric_type FROM execution_metrics")
    assert await on_clickhouse.find_violations(block_of(METRICS)) == []
    assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(0,)]
    assert clickhouse.execute("SELECT count() FROM seen") == [(0,)]


async def test_missing_table_is_an_error(on_clickhouse: ClickHouseConstraints, clickhouse: Client) -> None:
    clickhouse.execute("DROP TABLE execution_metrics")
    with pytest.raises(StoreError) as failed:
        await on_clickhouse.find_violations(block_of(METRICS))
    assert failed.value.outcome.name == "UNKNOWN_TABLE"


async def test_unreachable_server_is_an_error() -> None:
    constraints = ClickHouseConstraints(ClickHouseTarget("127.0.0.1", 1))
    with pytest.raises(StoreError) as failed:
        await constraints.find_violations(block_of(METRICS))
    assert failed.value.outcome.kind is OutcomeKind.UNAVAILABLE
    constraints.close()
