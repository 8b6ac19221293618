"""Every query of schemas/QUERIES.md and every view against answers computed in Python.

The same rows are there in several shapes: inserted once; with redeliveries, replays and corrections, merged or not; and
in narrow parts, where a bound of time lies between two versions of a row. Each query runs with settings that could lead
ClickHouse to another answer.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from clickhouse_driver import Client

from deploy.cookbook import recipes
from deploy.local.engine_process import EngineProcess
from tests.support.cookbook_answers import EXECUTION, EXPECTED_ANSWERS, LETTERS, p99_per_agent
from tests.support.cookbook_rows import (
    RELEASE,
    ROWS,
    TODAY,
    CookbookRow,
    asked_at,
    insert,
    insert_narrow_parts,
    older,
)
from tests.support.cookbook_selection import Answer
from tests.support.tables import migrated_database, refresh_roll_up

RECIPES = recipes()
SETTINGS: dict[str, dict[str, object]] = {
    "default": {},
    # What switches off the protection that servers have since 26.3 against such bounds.
    "partitions apart, another time zone": {
        "do_not_merge_across_partitions_select_final": 1,
        "session_timezone": "Asia/Tokyo",
    },
    "oldest server": {"compatibility": "24.10"},
    "oldest server, partitions apart": {"compatibility": "24.10", "do_not_merge_across_partitions_select_final": 1},
}
HALF_DAY = timedelta(hours=12)


@pytest.fixture(scope="module", params=["once", "redelivered and replayed", "and merged", "in narrow parts"])
def client(request: pytest.FixtureRequest, engine: EngineProcess) -> Iterator[Client]:
    """A client of a database with the rows in one of the shapes."""
    with migrated_database(engine, "queries") as client:
        client.execute("SYSTEM STOP MERGES execution_metrics")  # which would remove repeated rows
        if request.param == "in narrow parts":
            insert_narrow_parts(client)
        elif request.param != "once":
            insert_repeatedly(client)
        else:
            insert(client, ROWS)
        if request.param == "and merged":
            client.execute("SYSTEM START MERGES execution_metrics")
            client.execute("OPTIMIZE TABLE execution_metrics FINAL")
        client.execute(RECIPES["dead_letters_table"].text)
        client.execute(
            "INSERT INTO execution_metrics_dead_letters (place, kind, error_class, metric, agent, execution_id) VALUES",
            LETTERS,
        )
        refresh_roll_up(client)
        yield client


@pytest.fixture(params=SETTINGS)
def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    return SETTINGS[request.param]


def insert_repeatedly(client: Client) -> None:
    insert(client, [older(row) for row in ROWS[::7]])
    insert(client, ROWS[::2])
    refresh_roll_up(client)  # so that the other rows are late
    for _ in range(3):
        insert(client, ROWS)
    insert(client, [older(row) for row in ROWS[::7]])
    ((count,),) = client.execute("SELECT count() FROM execution_metrics")
    assert count > 3 * len(ROWS), "the table must hold the repeated rows"
    insert(client, ROWS)


def approximate(answer: Answer) -> Answer:
    """An answer that equals one with other last bits of sums, whose terms were added in another order."""
    return [
        tuple(pytest.approx(value, rel=1e-9, abs=1e-6) if isinstance(value, float) else value for value in row)
        for row in answer
    ]


def ask(client: Client, name: str, settings: dict[str, object]) -> Answer:
    text = RECIPES[name].text.replace("{execution_id}", EXECUTION)
    answer: Answer = client.execute(asked_at(TODAY, text), settings=settings)
    return answer


@pytest.mark.parametrize("name", EXPECTED_ANSWERS)
def test_query_gives_the_expected_answer(client: Client, name: str, settings: dict[str, object]) -> None:
    found = ask(client, name, settings)
    expected = EXPECTED_ANSWERS[name]()
    assert expected, "an empty answer proves nothing"
    assert found == approximate(expected)


def test_rolled_up_p99_is_within_one_percent(client: Client, settings: dict[str, object]) -> None:
    found = ask(client, "p99_per_agent_rolled_up", settings)
    for (agent, count, p99), (expected_agent, expected_count, expected) in zip(found, p99_per_agent(), strict=True):
        assert (agent, count) == (expected_agent, expected_count)
        assert p99 == pytest.approx(expected, rel=0.01)


def test_every_query_has_an_expected_answer() -> None:
    assert set(RECIPES) == set(EXPECTED_ANSWERS) | {"p99_per_agent_rolled_up", "dead_letters_table"}


def in_afternoon(row: CookbookRow) -> bool:
    """In the second half of the day that the release divides, of which every row has a version in the first half."""
    return RELEASE <= row.completed_at < RELEASE + HALF_DAY


BOUND = f"BETWEEN '{RELEASE:%F %T}' AND '{RELEASE + HALF_DAY - timedelta(milliseconds=1):%F %T.%f}'"


def test_rows_of_half_a_day_are_the_latest_versions(client: Client, settings: dict[str, object]) -> None:
    found = client.execute(
        "SELECT execution_id, agent_name, metric_type, metric_value, user_id, labels "  # noqa: S608 - ours
        f"FROM execution_metrics_deduplicated WHERE completed_at {BOUND}",
        settings=settings,
    )
    assert sorted(map(repr, found)) == sorted(
        repr((row.execution_id, row.agent_name, row.metric_type, row.metric_value, row.user_id, row.labels))
        for row in ROWS
        if in_afternoon(row)
    )


def test_minutes_of_half_a_day_are_those_of_the_latest_versions(client: Client, settings: dict[str, object]) -> None:
    found = client.execute(
        f"SELECT metric_type, sum(executions) FROM execution_metrics_per_minute WHERE minute {BOUND} GROUP BY 1",  # noqa: S608 - ours
        settings=settings,
    )
    assert dict(found) == Counter(row.metric_type for row in ROWS if in_afternoon(row))


def test_executions_of_half_a_day_have_everything_of_their_latest_event(
    client: Client, settings: dict[str, object]
) -> None:
    found = client.execute(
        "SELECT execution_id, agent_name, user_id, labels, cost_usd, metrics['retries'], mapKeys(earlier_metrics) "  # noqa: S608 - ours
        f"FROM execution_metrics_executions WHERE completed_at {BOUND}",
        settings=settings,
    )
    before = {row.execution_id for row in ROWS if row.metric_type == "only_before"}
    rows = {(row.execution_id, row.agent_name, row.metric_type): row for row in ROWS}
    assert sorted(map(repr, found)) == sorted(
        repr((row.execution_id, row.agent_name, row.user_id, row.labels, row.metric_value,
              rows[row.execution_id, row.agent_name, "retries"].metric_value,
              ["only_before"] if row.execution_id in before else []))
        for row in ROWS
        if in_afternoon(row) and row.metric_type == "cost_usd"
    )  # fmt: skip


@pytest.mark.parametrize("view", ["per_day", "success_per_day"])
def test_days_are_those_of_the_latest_versions(client: Client, settings: dict[str, object], view: str) -> None:
    where = "metric_type = 'result_success' AND " if view == "per_day" else ""
    found = client.execute(
        f"SELECT day, sum(executions) FROM execution_metrics_{view} WHERE {where}day >= '2026-09-01' GROUP BY 1",  # noqa: S608 - ours
        settings=settings,
    )
    since = datetime(2026, 9, 1, tzinfo=UTC)
    expected = Counter(row.day for row in ROWS if row.metric_type == "result_success" and row.completed_at >= since)
    assert dict(found) == expected


def test_days_of_a_user_include_all_of_his_executions(client: Client, settings: dict[str, object]) -> None:
    found = client.execute("SELECT * FROM execution_metrics_user_days WHERE user_id = 'user-7'", settings=settings)
    assert {(row.user_id, row.day, row.agent_name) for row in ROWS if row.user_id == "user-7"} == set(found)


@pytest.mark.parametrize(
    ("view", "bucket", "function"),
    [
        ("execution_metrics_per_day", "toDate32(completed_at) AS day", "quantileBFloat16"),
        (
            "execution_metrics_per_minute",
            "toStartOfInterval(completed_at, INTERVAL 60000 MILLISECOND) AS minute",
            "quantileExact",
        ),
    ],
)
def test_quantiles_of_a_view_are_those_of_the_deduplicated_rows(
    client: Client, view: str, bucket: str, function: str
) -> None:
    quantiles = ", ".join(f"{function}({level})(metric_value)" for level in (0.5, 0.9, 0.95, 0.99))
    expected = client.execute(
        f"SELECT metric_type, agent_name, {bucket}, {quantiles} FROM execution_metrics FINAL GROUP BY ALL ORDER BY ALL"  # noqa: S608 - ours
    )
    name = bucket.rpartition(" ")[2]
    assert len(expected) > 10_000
    assert expected == client.execute(
        f"SELECT metric_type, agent_name, {name}, p50, p90, p95, p99 FROM {view} ORDER BY ALL"  # noqa: S608 - ours
    )


def test_extreme_values_do_not_stop_the_roll_up(engine: EngineProcess) -> None:
    rows = [(1.7e308, -2_208_988_800_000), (5e-324, 0), (-1.7e308, 0), (-0.0, 10_413_791_999_000), (0.5, 0)]
    with migrated_database(engine, "extremes") as client:
        client.execute(
            "INSERT INTO execution_metrics (execution_id, metric_value, completed_at) VALUES",
            [(str(number), *row) for number, row in enumerate(rows)],
        )
        refresh_roll_up(client)
        errors = client.execute("SELECT exception FROM system.view_refreshes WHERE database = currentDatabase()")
        days = client.execute("SELECT toString(day), executions FROM execution_metrics_per_day ORDER BY day")
        minutes = client.execute("SELECT toString(minute) FROM execution_metrics_per_minute ORDER BY minute")
    assert errors == [("",)]
    assert days == [("1900-01-01", 1), ("1970-01-01", 3), ("2299-12-31", 1)]
    assert [minute[:16] for (minute,) in minutes] == ["1900-01-01 00:00", "1970-01-01 00:00", "2299-12-31 23:59"]
