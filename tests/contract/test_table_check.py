"""The check of the table: a sentence for each difference from the schema that the worker needs."""

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import load_migrations
from worker.clickhouse.table_check import find_schema_differences, find_stored_table
from worker.clickhouse.topology import Topology
from worker.core.errors import StoreError
from worker.core.outcome import OutcomeKind

ROWS = load_migrations()[0].statements(Topology("", "execution_metrics"))[0]


@pytest.fixture
def target(engine: EngineProcess, database: str) -> ClickHouseTarget:
    return ClickHouseTarget(engine.host, engine.port, database)


def test_migrated_table_has_no_differences(target: ClickHouseTarget) -> None:
    migrate(target)
    assert find_schema_differences(target) == []


def test_missing_table_has_no_differences(target: ClickHouseTarget) -> None:
    assert find_schema_differences(target) == []


def test_stored_table_has_the_deduplication_window_of_its_settings(
    clickhouse: Client, target: ClickHouseTarget
) -> None:
    assert find_stored_table(target) is None
    migrate(target)
    table = find_stored_table(target)
    assert table is not None
    assert (table.name, table.is_replicated, table.deduplication_window) == ("execution_metrics", False, 10_000)
    clickhouse.execute("ALTER TABLE execution_metrics RESET SETTING non_replicated_deduplication_window")
    table = find_stored_table(target)
    assert table is not None
    assert table.deduplication_window is None


def test_unreachable_server_is_unavailable() -> None:
    with pytest.raises(StoreError) as failed:
        find_schema_differences(ClickHouseTarget("127.0.0.1", 1))
    assert failed.value.outcome.kind is OutcomeKind.UNAVAILABLE


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE execution_metrics ADD COLUMN region String DEFAULT 'eu'",
        "ALTER TABLE execution_metrics MODIFY COLUMN source_topic String",
        "ALTER TABLE execution_metrics MODIFY TTL completed_at + INTERVAL 1 YEAR",
        "ALTER TABLE execution_metrics ADD CONSTRAINT c CHECK metric_value >= 0",
        "ALTER TABLE execution_metrics MODIFY SETTING non_replicated_deduplication_window = 5",
    ],
)
def test_allowed_alteration_is_no_difference(clickhouse: Client, target: ClickHouseTarget, change: str) -> None:
    migrate(target)
    clickhouse.execute(change)
    assert find_schema_differences(target) == []


def test_sorting_key_in_another_order_is_no_difference(clickhouse: Client, target: ClickHouseTarget) -> None:
    order = "toDate32(completed_at), metric_type, agent_name, execution_id"
    assert order in ROWS
    clickhouse.execute(ROWS.replace(order, "agent_name, toDate32(completed_at), execution_id, metric_type"))
    assert find_schema_differences(target) == []


@pytest.mark.parametrize(
    ("written", "instead", "sentence"),
    [
        ("source_partition Int32                  CODEC(ZSTD(1, 24)),\n", "", "column source_partition is missing"),
        ("metric_value     Float64", "metric_value Float32", "column metric_value is Float32; it should be Float64"),
        (
            "user_id          Nullable(String)",
            "user_id String",
            "column user_id is String; it should be Nullable(String)",
        ),
        (
            "completed_at     DateTime64(3, 'UTC')",
            "completed_at DateTime",
            "column completed_at is DateTime; it should be",
        ),
        ("source_partition Int32", "source_partition Int32 MATERIALIZED 1", "column source_partition is MATERIALIZED"),
        ("ReplacingMergeTree(version)", "MergeTree", "engine is MergeTree; it should be ReplacingMergeTree"),
        ("ReplacingMergeTree(version)", "ReplacingMergeTree", "its version should be `version`"),
        ("ReplacingMergeTree(version)", "ReplacingMergeTree(completed_at)", "its version should be `version`"),
        ("ORDER BY (toDate32(completed_at)", "ORDER BY (completed_at", "sorting key is (completed_at, metric_type"),
        ("PARTITION BY toYYYYMM(day)", "", "partition key is none; it should be toYYYYMM(day)"),
        (
            "PARTITION BY toYYYYMM(day)",
            "PARTITION BY toYYYYMM(completed_at)",
            "partition key is toYYYYMM(completed_at); it should be toYYYYMM(day)",
        ),
        (
            "MATERIALIZED toDate32(completed_at)",
            "DEFAULT today()",
            "column day is DEFAULT today(); it should be Date32",
        ),
        ("non_replicated_deduplication_window = 10000,", "", "deduplication window is 0"),
    ],
)
def test_difference_is_named(
    clickhouse: Client, target: ClickHouseTarget, written: str, instead: str, sentence: str
) -> None:
    assert written in ROWS
    clickhouse.execute(ROWS.replace(written, instead))
    (found,) = find_schema_differences(target)
    assert sentence in found


def test_every_difference_is_named(clickhouse: Client, target: ClickHouseTarget) -> None:
    clickhouse.execute("CREATE TABLE execution_metrics (execution_id String) ENGINE = Log")
    found = find_schema_differences(target)
    assert len(found) == 11
    assert any("engine is Log" in sentence for sentence in found)
