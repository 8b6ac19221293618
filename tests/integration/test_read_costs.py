"""Rows and bytes that the queries of schemas/QUERIES.md read of 10 million rows, and the size of a row on disk."""

from collections.abc import Iterator

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.cookbook import recipes
from tests.support.rows import METRICS, insert_rows
from tests.support.tables import migrated_database, refresh_roll_up

ROWS = 10_000_000
STEPS = 10
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
    large.execute(recipe.text.replace("{execution_id}", str(some)))
    read = large.last_query.progress
    print(f"{name}: {read.rows:,} rows, {read.bytes / 1e6:.1f} MB")  # noqa: T201 - to update the cookbook
    assert 0 < read.rows <= recipe.most_rows
    assert read.bytes <= recipe.most_bytes


def test_every_query_states_what_it_reads() -> None:
    assert [name for name, recipe in RECIPES.items() if recipe.most_rows is None] == ["dead_letters_table"]


def test_codecs_save_a_fifth_of_the_disk(large: Client) -> None:
    """Compared with a table as the first migration created it, with the same rows, in the same run."""
    large.execute("CREATE TABLE without_codecs AS execution_metrics")
    for column in ("user_id", "metric_value", "completed_at", "version", "source_partition"):
        large.execute(f"ALTER TABLE without_codecs MODIFY COLUMN {column} REMOVE CODEC")
    large.execute("ALTER TABLE without_codecs MODIFY COLUMN ingested_at REMOVE CODEC, DROP INDEX by_execution")
    insert_rows(large, ROWS // STEPS, of=ROWS, table="without_codecs")
    large.execute("CREATE TABLE with_codecs AS execution_metrics")
    insert_rows(large, ROWS // STEPS, of=ROWS, table="with_codecs")
    for table in ("without_codecs", "with_codecs"):
        large.execute(f"OPTIMIZE TABLE {table} FINAL")
    sizes = bytes_on_disk(large)
    print(sizes)  # noqa: T201 - as above
    assert sizes["with_codecs"] < 0.8 * sizes["without_codecs"], "the index of executions included"
    assert sizes["execution_metrics"] < 40 * ROWS


def test_roll_up_takes_at_most_five_percent_of_the_rows(large: Client) -> None:
    sizes = bytes_on_disk(large)
    ((read_rows, read_bytes, milliseconds),) = large.execute(
        "SELECT read_rows, read_bytes, last_success_duration_ms FROM system.view_refreshes "
        "WHERE database = currentDatabase()"
    )
    print(f"refresh: {read_rows:,} rows, {read_bytes / 1e6:.0f} MB, {milliseconds} ms")  # noqa: T201 - as above
    assert read_rows == ROWS
    assert sizes["execution_metrics_per_day_states"] < 0.05 * sizes["execution_metrics"]
    assert large.execute("SELECT count() FROM execution_metrics_per_day") == [(90 * 20 * len(METRICS),)]
