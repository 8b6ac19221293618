"""Rows and bytes that the queries of schemas/QUERIES.md read of 10 million rows, and the size of a row on disk."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from datetime import UTC, datetime

import pytest
from clickhouse_driver import Client

from deploy.cookbook import recipes
from deploy.local.engine_process import EngineProcess
from tests.support.cookbook_rows import asked_at
from tests.support.events import Record, encoded
from tests.support.rows import METRICS, insert_rows
from tests.support.tables import migrated_database, refresh_roll_up
from worker.audit.audit import Audit, TimeRange
from worker.audit.dead_letter_index import DeadLetterIndex
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.view import DeduplicatedView
from worker.ports import RowKey, ViewRow

ROWS = 10_000_000
STEPS = 10
NOW = datetime(2026, 9, 15, 12, tzinfo=UTC)
"""When the queries are asked: in the last of the three months."""
RECIPES = recipes()

pytestmark = pytest.mark.timeout(600)  # half a minute where nothing else runs


@pytest.fixture(scope="module")
def large(engine: EngineProcess) -> Iterator[Client]:
    """10 million rows over 90 days, merged, and a hundred dead letters."""
    with migrated_database(engine, "large") as client:
        for step in range(STEPS):
            insert_rows(client, ROWS // STEPS, first=step * ROWS // STEPS, of=ROWS)
        client.execute("OPTIMIZE TABLE execution_metrics FINAL")
        refresh_roll_up(client)
        client.execute(RECIPES["dead_letters_table"].text)
        client.execute(
            "INSERT INTO execution_metrics_dead_letters (place, kind, error_class, metric, execution_id) "
            "SELECT toString(rowNumberInAllBlocks()), 'metric', 'row_refused', 'cost_usd', execution_id "
            "FROM execution_metrics LIMIT 100"
        )
        yield client


def bytes_on_disk(client: Client) -> dict[str, float]:
    """Size of each table of the database."""
    sizes = client.execute(
        "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE database = currentDatabase() AND active GROUP BY ALL"
    )
    return dict(sizes)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.most_rows is not None])
def test_query_reads_at_most_what_the_cookbook_says(large: Client, name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.most_rows is not None
    assert recipe.most_bytes is not None
    ((some,),) = large.execute("SELECT execution_id FROM execution_metrics WHERE metric_type = 'retries' LIMIT 1")
    large.execute(asked_at(NOW, recipe.text.replace("{execution_id}", str(some))))
    read = large.last_query.progress
    print(f"{name}: {read.rows:,} rows, {read.bytes / 1e6:.1f} MB")  # noqa: T201 - to update the cookbook
    assert 0 < read.rows <= recipe.most_rows
    assert read.bytes <= recipe.most_bytes


class CountingView(DeduplicatedView):
    """Counts the rows that ClickHouse reads for the view."""

    rows_read = 0

    def read_rows(self, keys: Collection[RowKey], on_row: Callable[[RowKey, ViewRow], None]) -> None:
        super().read_rows(keys, on_row)
        self.rows_read += self._client.last_query.progress.rows


def select_records(client: Client, count: int) -> list[Record]:
    """The Kafka records of `count` successive executions of the table."""
    rows = client.execute(
        "SELECT execution_id, any(agent_name), any(user_id), groupArray((metric_type, metric_value)), "  # noqa: S608 - ours
        "any(toUnixTimestamp64Milli(completed_at)), any(version), any(source_partition), any(labels) "
        "FROM execution_metrics WHERE completed_at >= '2026-08-12 12:00:00' AND completed_at < '2026-08-14 12:00:00' "
        f"GROUP BY execution_id ORDER BY any(version) LIMIT {count}"
    )
    fields = ("execution_id", "agent_name", "user_id", "metrics", "completed_at")
    return [
        Record(
            encoded({**dict(zip(fields, row[:5], strict=True)), "metrics": dict(row[3]), "labels": row[7]}),
            partition=row[6],
            offset=row[5] & (1 << 64) - 1,
            timestamp=row[5] >> 64,
        )
        for row in rows
    ]


async def test_audit_reads_at_most_five_times_the_rows_that_it_checks(large: Client, engine: EngineProcess) -> None:
    ((database,),) = large.execute("SELECT currentDatabase()")
    records = select_records(large, 10_000)
    ranges = {
        partition: range(min(offsets), max(offsets) + 1)
        for partition in range(4)
        if (offsets := [record.offset for record in records if record.partition == partition])
    }

    async def read(partition: int, offsets: range) -> AsyncGenerator[list[Record], None]:
        yield [record for record in records if record.partition == partition and record.offset in offsets]

    view = CountingView(ClickHouseTarget(engine.host, engine.port, database, timeout_seconds=300.0))
    index = DeadLetterIndex("execution-completed", ranges)
    findings: list[object] = []
    counts = await Audit(read, view, index, findings.append, lambda _: None).run(ranges, TimeRange())
    index.close()
    view.close()
    print(f"audit of {counts.in_view:,} rows: {view.rows_read:,} rows")  # noqa: T201 - as above
    assert (findings, counts.in_view) == ([], 100_000)
    assert view.rows_read <= 5 * counts.in_view


def test_every_query_states_what_it_reads() -> None:
    assert [name for name, recipe in RECIPES.items() if recipe.most_rows is None] == ["dead_letters_table"]


def test_row_takes_at_most_fifteen_bytes(large: Client) -> None:
    """With every column, four labels, the index and the projection."""
    columns = large.execute(
        "SELECT name, data_compressed_bytes FROM system.columns "
        "WHERE database = currentDatabase() AND table = 'execution_metrics' ORDER BY 2 DESC"
    )
    total = bytes_on_disk(large)["execution_metrics"] / ROWS
    print(f"{total:.2f} bytes", {name: round(size / ROWS, 2) for name, size in columns})  # noqa: T201 - as above
    assert total <= 15


def test_roll_up_takes_at_most_a_tenth_of_the_rows(large: Client) -> None:
    sizes = bytes_on_disk(large)
    ((read_rows, read_bytes, milliseconds),) = large.execute(
        "SELECT read_rows, read_bytes, last_success_duration_ms FROM system.view_refreshes "
        "WHERE database = currentDatabase()"
    )
    print(f"refresh: {read_rows:,} rows, {read_bytes / 1e6:.0f} MB, {milliseconds} ms")  # noqa: T201 - as above
    assert read_rows == ROWS
    assert sizes["execution_metrics_per_day_states"] < 0.1 * sizes["execution_metrics"]
    assert large.execute("SELECT count() FROM execution_metrics_per_day") == [(90 * 20 * len(METRICS),)]
