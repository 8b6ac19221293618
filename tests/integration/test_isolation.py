"""Bisection on the real engine: how many INSERTs it takes, and that only invalid rows are left out."""

from collections.abc import Callable, Iterator
from random import Random
from uuid import UUID

import pytest
from clickhouse_driver import Client

from tests.support.events import JANUARY_2026, Record, encoded, event
from tests.support.store_harness import StoreHarness
from worker.clickhouse.connection import ClickHouseTarget
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric

METRICS = [f"metric_{number}" for number in range(10)]


@pytest.fixture
def harness(migrated_target: ClickHouseTarget) -> Iterator[StoreHarness]:
    harness = StoreHarness(migrated_target)
    yield harness
    harness.store.close()


def batch(count: int, invalid: Callable[[int, int], bool] = lambda *_: False, first_offset: int = 0) -> list[Record]:
    """Events with ten metrics each; the value of an invalid metric is below 0."""
    return [
        Record(
            encoded(
                event(
                    execution_id=f"00000000-0000-0000-0000-{number:012}",
                    metrics={name: -1 if invalid(number, at) else number for at, name in enumerate(METRICS)},
                )
            ),
            offset=first_offset + number,
            timestamp=JANUARY_2026 + number,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("rule", "most_inserts"),
    [
        ("CHECK metric_value >= 0", 2),  # ClickHouse evaluates it
        ("CHECK metric_value >= 0 AND ingested_at > 0", 100),  # it cannot be evaluated
        ("view", 100),
    ],
)
async def test_three_invalid_rows_among_30_000_are_the_only_dead_letters(
    clickhouse: Client, harness: StoreHarness, rule: str, most_inserts: int
) -> None:
    if rule == "view":
        clickhouse.execute(
            "CREATE MATERIALIZED VIEW picky ENGINE = MergeTree ORDER BY tuple() AS "
            "SELECT throwIf(metric_value < 0) AS refused FROM execution_metrics"
        )
    else:
        clickhouse.execute(f"ALTER TABLE execution_metrics ADD CONSTRAINT rule {rule}")
    random = Random(7)
    invalid = {(random.randrange(3_000), random.randrange(10)) for _ in range(3)}
    await harness.pipeline.process(batch(3_000, lambda number, at: (number, at) in invalid))
    failed = [letter for letter in harness.dead_letters.letters if isinstance(letter, FailedMetric)]
    assert {(UUID(letter.event.execution_id).int, letter.metric) for letter in failed} == {
        (int(str(number), 16), METRICS[at]) for number, at in invalid
    }
    assert len(harness.dead_letters.letters) == 3
    assert {letter.failure.error_class for letter in failed} == {ErrorClass.ROW_REFUSED}
    assert harness.inserts() <= most_inserts
    table = clickhouse.execute("SELECT count(), min(metric_value) FROM execution_metrics_deduplicated")
    # A view that throws leaves the rows of its source table in place, refused as they are: ClickHouse's own behaviour.
    assert table == [(29_997, 0.0) if rule != "view" else (30_000, -1.0)]


async def test_events_of_400_months_are_written_in_four_inserts(clickhouse: Client, harness: StoreHarness) -> None:
    records = [
        Record(
            encoded(event(execution_id=f"00000000-0000-0000-0000-{year:012}", completed_at=f"{year}-06-01T00:00:00Z")),
            timestamp=-1,  # any time is accepted
        )
        for year in range(1900, 2300)
    ]
    await harness.pipeline.process(records)
    assert clickhouse.execute("SELECT count() FROM execution_metrics_deduplicated") == [(800,)]
    assert harness.inserts() == 4
    assert harness.dead_letters.letters == []
