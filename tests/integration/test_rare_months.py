"""INSERTs of several months on the real engine: which rows are written, and written once."""

from collections.abc import Iterator, Sequence

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.events import JANUARY_2026, Record, encoded, event
from tests.support.store_harness import StoreHarness
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget
from worker.core.outcome import WRITTEN, OutcomeKind
from worker.events.block import SEVERAL_MONTHS, Block, merge_rare_months
from worker.events.fan_out import FanOut

MONTHS = range(202501, 202513)
PICKY = (
    "CREATE MATERIALIZED VIEW picky ENGINE = MergeTree ORDER BY tuple() AS "
    "SELECT throwIf(metric_value < 0) AS refused FROM execution_metrics"
)
METRICS = [f"metric_{number}" for number in range(10)]


@pytest.fixture
def harness(engine: EngineProcess, database: str) -> Iterator[StoreHarness]:
    target = ClickHouseTarget(engine.host, engine.port, database)
    migrate(target)
    harness = StoreHarness(target)
    yield harness
    harness.store.close()


def records_of(months: Sequence[int], metrics: dict[str, float]) -> list[Record]:
    """An event of each month."""
    return [
        Record(
            encoded(
                event(
                    execution_id=f"00000000-0000-0000-0000-{month:012}",
                    completed_at=f"{month // 100}-{month % 100:02}-15T12:00:00Z",
                    metrics=metrics,
                )
            ),
            offset=month,
            timestamp=JANUARY_2026,
        )
        for month in months
    ]


def shared_block(metrics: Sequence[str] = METRICS) -> Block:
    """One event of each month in one block."""
    fan_out = FanOut()
    for record in records_of(MONTHS, dict.fromkeys(metrics, 1.0)):
        fan_out.add_record(record)
    (block,) = merge_rare_months(fan_out.blocks.values())
    assert block.month == SEVERAL_MONTHS
    return block


def rows_by_month(client: Client) -> dict[int, int]:
    """Rows of the table, duplicates included."""
    counts = "SELECT toYYYYMM(completed_at), count() FROM execution_metrics GROUP BY 1"
    return dict(client.execute(counts))


async def test_every_month_is_written_once_though_the_insert_is_repeated(
    clickhouse: Client, harness: StoreHarness
) -> None:
    clickhouse.execute("SYSTEM STOP MERGES")
    block = shared_block()
    assert [await harness.store.insert(block) for _ in range(3)] == [WRITTEN] * 3
    assert rows_by_month(clickhouse) == dict.fromkeys(MONTHS, 10)


async def test_repeated_insert_writes_only_the_months_that_are_missing(
    clickhouse: Client, harness: StoreHarness
) -> None:
    """As after an INSERT that failed half way: ClickHouse keeps the token for each partition."""
    clickhouse.execute("SYSTEM STOP MERGES")
    block = shared_block()
    assert await harness.store.insert(block) == WRITTEN
    for month in (202503, 202511):  # with the partition its token is gone
        clickhouse.execute(f"ALTER TABLE execution_metrics DROP PARTITION {month}")
    assert len(rows_by_month(clickhouse)) == 10
    assert await harness.store.insert(block) == WRITTEN
    assert rows_by_month(clickhouse) == dict.fromkeys(MONTHS, 10)


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE execution_metrics ADD CONSTRAINT rule CHECK metric_value >= 0", PICKY],
    ids=["constraint", "view"],
)
async def test_only_the_invalid_rows_of_a_shared_insert_become_dead_letters(
    clickhouse: Client, harness: StoreHarness, statement: str
) -> None:
    clickhouse.execute(statement)
    records = records_of([202502], {"valid": 1, "invalid": -1}) + records_of([202501, 202503], {"valid": 1, "other": 2})
    await harness.pipeline.process(records)
    failed = [(item.record.offset, item.metric) for item in harness.dead_letters.letters]
    assert failed == [(202502, "invalid")]
    valid = "SELECT count() FROM execution_metrics_deduplicated WHERE metric_value >= 0"
    assert clickhouse.execute(valid) == [(5,)]


async def test_view_with_more_partitions_than_one_insert_may_have_takes_fewer_months_at_once(
    clickhouse: Client, harness: StoreHarness
) -> None:
    clickhouse.execute(
        "CREATE MATERIALIZED VIEW many ENGINE = MergeTree ORDER BY tuple() "
        "PARTITION BY (toYYYYMM(completed_at), metric_type) AS SELECT completed_at, metric_type FROM execution_metrics"
    )
    outcome = await harness.store.insert(shared_block())
    assert (outcome.kind, outcome.code) == (OutcomeKind.TOO_LARGE, 252)
    await harness.pipeline.process(records_of(MONTHS, dict.fromkeys(METRICS, 2.0)))
    assert harness.dead_letters.letters == []
    assert not harness.hold.is_active
    assert clickhouse.execute("SELECT uniqExact(toYYYYMM(completed_at)), uniqExact(metric_type) FROM many") == [
        (12, 10)
    ]


async def test_single_month_with_too_many_partitions_of_a_view_is_misconfigured(
    clickhouse: Client, harness: StoreHarness
) -> None:
    clickhouse.execute(
        "CREATE MATERIALIZED VIEW many ENGINE = MergeTree ORDER BY tuple() "
        "PARTITION BY metric_type AS SELECT metric_type FROM execution_metrics"
    )
    shared = shared_block([f"metric_{number}" for number in range(101)])
    first_month, _ = shared.split_rows(range(101))
    assert (await harness.store.insert(shared)).kind is OutcomeKind.TOO_LARGE
    assert (await harness.store.insert(first_month)).kind is OutcomeKind.MISCONFIGURED
