"""Every query of schemas/QUERIES.md against an answer computed in Python, also after redelivery, replay and merge."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.cookbook import recipes
from tests.support.rows import METRICS
from tests.support.tables import migrated_database, refresh_roll_up
from worker.core.times import to_milliseconds

Answer = list[tuple[Any, ...]]

EXECUTIONS = 4_000
FIRST = datetime(2026, 7, 1, tzinfo=UTC)
WEEK = (datetime(2026, 9, 7, tzinfo=UTC), datetime(2026, 9, 14, tzinfo=UTC))
RELEASE = datetime(2026, 9, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RECIPES = recipes()
COLUMNS = """execution_id, agent_name, user_id, metric_type, metric_value, completed_at, version, source_topic,
source_partition, ingested_at"""


class Row(NamedTuple):
    """A row of the table, in the order of `COLUMNS`."""

    execution_id: str
    agent_name: str
    user_id: str | None
    metric_type: str
    metric_value: float
    completed_at: datetime
    recorded_at: datetime
    source_topic: str
    source_partition: int
    source_offset: int
    ingested_at: datetime

    @property
    def day(self) -> date:
        return self.completed_at.date()

    def insertable(self) -> tuple[object, ...]:
        """With the version in place of what the table computes from it."""
        version = to_milliseconds(self.recorded_at) << 64 | self.source_offset
        return (*self[:6], version, *self[7:9], self.ingested_at)


def generate() -> list[Row]:
    """Rows of 90 days: a few are late, and one metric of one agent stops arriving."""
    random = Random(20260901)
    rows = []
    for number in range(EXECUTIONS):
        execution, agent = str(UUID(int=random.getrandbits(128))), f"agent-{random.randrange(20):02}"
        user = f"user-{random.randrange(30)}" if random.random() < 0.9 else None
        completed = FIRST + timedelta(milliseconds=random.randrange(90 * 86_400_000))
        recorded = completed + timedelta(milliseconds=random.randrange(5_000) + (random.random() < 0.05) * 7_200_000)
        ingested = recorded + timedelta(milliseconds=500 + (random.random() < 0.05) * 90_000_000)
        for metric in METRICS:
            if (agent, metric) == ("agent-03", "tool_calls") and completed >= datetime(2026, 9, 18, tzinfo=UTC):
                continue
            value = float(random.random() < 0.9) if metric == "result_success" else round(random.uniform(0, 9_999), 3)
            rows.append(
                Row(execution, agent, user, metric, value, completed, recorded, "events", number % 4, number, ingested)
            )
    return rows


ROWS = generate()


def older(row: Row) -> Row:
    """A row of the same execution and day that was recorded earlier, as the replay of an old dead letter writes it."""
    noon = datetime(row.day.year, row.day.month, row.day.day, 12, tzinfo=UTC)
    before = row.recorded_at - timedelta(seconds=1)
    return row._replace(
        metric_value=row.metric_value + 1e6, completed_at=noon, recorded_at=before, user_id="another user"
    )


def insert(client: Client, rows: Iterable[Row]) -> None:
    """Insert `rows` without deduplication."""
    client.execute(f"INSERT INTO execution_metrics ({COLUMNS}) VALUES", [row.insertable() for row in rows],
                   settings={"deduplicate_insert": "disable", "max_partitions_per_insert_block": 0})  # fmt: skip


LETTERS = [
    # Of a metric that was written too, of two that were not, and of an event that cannot be parsed.
    ("0:1", "metric", "row_refused", "cost_usd", ROWS[0].agent_name, ROWS[0].execution_id),
    ("0:2", "metric", "row_refused", "cost_usd", "agent-00", str(UUID(int=1))),
    ("0:3", "metric", "invalid_metric", "no_such_metric", ROWS[0].agent_name, ROWS[0].execution_id),
    ("0:4", "event", "invalid_event", None, None, None),
]


@pytest.fixture(scope="module", params=["once", "redelivered and replayed", "and merged"])
def client(request: pytest.FixtureRequest, engine: EngineProcess) -> Iterator[Client]:
    """A client of a database with the rows: inserted once, several times, or several times and then merged."""
    with migrated_database(engine, "queries") as client:
        client.execute("SYSTEM STOP MERGES execution_metrics")  # which would remove repeated rows
        if request.param != "once":
            insert(client, [older(row) for row in ROWS[::7]])
            insert(client, ROWS[::2])
            refresh_roll_up(client)  # so that the other rows are late
            for _ in range(3):
                insert(client, ROWS)
            insert(client, [older(row) for row in ROWS[::7]])
            ((count,),) = client.execute("SELECT count() FROM execution_metrics")
            assert count > 3 * len(ROWS), "the table must hold the repeated rows"
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


def select(metric: str, since: datetime = FIRST, until: datetime | None = None) -> list[Row]:
    end = until or datetime.max.replace(tzinfo=UTC)
    return [row for row in ROWS if row.metric_type == metric and since <= row.completed_at < end]


def group(rows: Iterable[Row], key: Callable[[Row], Any]) -> list[tuple[Any, list[Row]]]:
    groups: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return sorted(groups.items(), key=lambda item: str(item[0]))


def values(rows: Iterable[Row]) -> list[float]:
    return sorted(row.metric_value for row in rows)


def quantile(rows: list[Row], level: float) -> float:
    found = values(rows)
    return found[min(int(level * len(found)), len(found) - 1)]


def p99_per_agent() -> Answer:
    week = group(select("execution_time_ms", *WEEK), lambda row: row.agent_name)
    return [(agent, len(rows), quantile(rows, 0.99)) for agent, rows in week]


def select_day_of_agent(metric: str) -> list[Row]:
    day = select(metric, WEEK[0], WEEK[0] + timedelta(days=1))
    return [row for row in day if row.agent_name == "agent-07"]


def one_metric_one_agent_one_day() -> Answer:
    return sorted((row.completed_at, row.execution_id, row.metric_value) for row in select_day_of_agent("cost_usd"))


def per_minute() -> Answer:
    rows = select_day_of_agent("queue_time_ms")
    minutes = group(rows, lambda row: row.completed_at.replace(second=0, microsecond=0))
    return [
        (minute, len(found), sum(values(found)), values(found)[0], values(found)[-1], quantile(found, 0.5),
         quantile(found, 0.99))
        for minute, found in minutes
    ]  # fmt: skip


def per_day() -> Answer:
    return [
        (day, len(rows), sum(values(rows)), values(rows)[0], values(rows)[-1])
        for day, rows in group(select("input_tokens"), lambda row: row.day)
    ]


def cost_per_user() -> Answer:
    month = select("cost_usd", datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
    users = group(month, lambda row: row.user_id)
    costs = [(user, len(rows), sum(values(rows))) for user, rows in users]
    return sorted(costs, key=lambda cost: -cost[2])[:20]


def success_rate() -> Answer:
    agents = group(select("result_success", *WEEK), lambda row: row.agent_name)
    rates = [(agent, len(rows), sum(values(rows)) / len(rows)) for agent, rows in agents]
    return sorted(rates, key=lambda rate: (rate[2], rate[0]))


def failures_around_a_release() -> Answer:
    rows = select("result_success", RELEASE - timedelta(days=3), RELEASE + timedelta(days=3))
    answer = []
    for agent, found in group(rows, lambda row: row.agent_name):
        sides = [[row for row in found if (row.completed_at >= RELEASE) is after] for after in (False, True)]
        answer.append((agent, *(n for side in sides for n in (values(side).count(0.0), len(side)))))
    return answer


def slowest() -> Answer:
    rows = sorted(select("execution_time_ms", *WEEK), key=lambda row: (-row.metric_value, row.execution_id))
    return [(row.metric_value, row.execution_id, row.agent_name, row.user_id, row.completed_at) for row in rows[:10]]


def one_execution() -> Answer:
    rows = [row for row in ROWS if row.execution_id == ROWS[0].execution_id]
    metrics = {row.metric_type: row.metric_value for row in rows}
    columns = (metrics[name] for name in ("result_success", "execution_time_ms", "cost_usd"))
    return [(rows[0].agent_name, rows[0].user_id, rows[0].completed_at, *columns, metrics)]


def stopped_arriving() -> Answer:
    last = max(row.day for row in ROWS if (row.agent_name, row.metric_type) == ("agent-03", "tool_calls"))
    return [("agent-03", "tool_calls", last)]


def late() -> Answer:
    answer = []
    for agent, rows in group(select("execution_time_ms", *WEEK), lambda row: row.agent_name):
        sent = sum(row.recorded_at > row.completed_at + HOUR for row in rows)
        written = sum(row.ingested_at > row.recorded_at + HOUR for row in rows)
        most = max(int(row.recorded_at.timestamp()) - int(row.completed_at.timestamp()) for row in rows)
        if sent + written:
            answer.append((agent, sent, written, most))
    return answer


def dead_lettered_against_written() -> Answer:
    there = {(row.metric_type, row.execution_id) for row in ROWS}
    counts: Counter[tuple[str | None, str]] = Counter()
    written: Counter[tuple[str | None, str]] = Counter()
    for _, kind, error_class, metric, _, execution in LETTERS:
        if kind == "metric":
            counts[metric, error_class] += 1
            written[metric, error_class] += (metric, execution) in there
    answer = [(*key, count, written[key], count - written[key]) for key, count in counts.items()]
    return sorted(answer, key=lambda line: (-line[4], line[0]))


EXPECTED_ANSWERS: dict[str, Callable[[], Answer]] = {
    function.__name__: function
    for function in (
        p99_per_agent, one_metric_one_agent_one_day, per_minute, per_day, cost_per_user, success_rate,
        failures_around_a_release, slowest, one_execution, stopped_arriving, late, dead_lettered_against_written,
    )
}  # fmt: skip


def approximate(answer: Answer) -> Answer:
    """An answer that equals one with other last bits of sums, whose terms were added in another order."""
    return [
        tuple(pytest.approx(value, rel=1e-9, abs=1e-6) if isinstance(value, float) else value for value in row)
        for row in answer
    ]


@pytest.mark.parametrize("name", EXPECTED_ANSWERS)
def test_query_gives_the_expected_answer(client: Client, name: str) -> None:
    found = client.execute(RECIPES[name].text.replace("{execution_id}", str(ROWS[0].execution_id)))
    expected = EXPECTED_ANSWERS[name]()
    assert expected, "an empty answer proves nothing"
    assert found == approximate(expected)


def test_rolled_up_p99_is_within_one_percent(client: Client) -> None:
    found = client.execute(RECIPES["p99_per_agent_rolled_up"].text)
    for (agent, count, p99), (expected_agent, expected_count, expected) in zip(found, p99_per_agent(), strict=True):
        assert (agent, count) == (expected_agent, expected_count)
        assert p99 == pytest.approx(expected, rel=0.01)


def test_every_query_has_an_expected_answer() -> None:
    assert set(RECIPES) == set(EXPECTED_ANSWERS) | {"p99_per_agent_rolled_up", "dead_letters_table"}


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
