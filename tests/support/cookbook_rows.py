"""The rows that the queries of schemas/QUERIES.md are asked of, with older versions, and ways to insert them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import NamedTuple
from uuid import UUID

from clickhouse_driver import Client

from tests.support.rows import METRICS
from worker.core.times import to_milliseconds

EXECUTIONS = 4_000
AGENTS = 20
DAYS = 90
FIRST = datetime(2026, 7, 1, tzinfo=UTC)
TODAY = datetime(2026, 9, 25, 8, tzinfo=UTC)
"""When the queries are asked; some rows are later."""
WEEK = (datetime(2026, 9, 7, tzinfo=UTC), datetime(2026, 9, 14, tzinfo=UTC))
RELEASE = datetime(2026, 9, 15, 12, tzinfo=UTC)
_NARROW = (datetime(2026, 9, 7, tzinfo=UTC), datetime(2026, 9, 20, tzinfo=UTC))
"""The days of which `insert_narrow_parts` makes parts of half a day: those that a query bounds."""
_HALF_DAY = timedelta(hours=12)
_COLUMNS = """execution_id, agent_name, user_id, metric_type, metric_value, completed_at, version, source_topic,
source_partition, ingested_at, labels"""
_MODELS = ("large", "small", "tiny")


class CookbookRow(NamedTuple):
    """A row of the table, in the order of `_COLUMNS`."""

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
    labels: dict[str, str]

    @property
    def day(self) -> date:
        return self.completed_at.date()

    @property
    def version(self) -> int:
        return to_milliseconds(self.recorded_at) << 64 | self.source_offset

    def insertable(self) -> tuple[object, ...]:
        """With the version in place of what the table computes from it."""
        return (*self[:6], self.version, *self[7:9], *self[10:])


def generate() -> list[CookbookRow]:
    """What the view must show, of 90 days, and one execution of a wrong clock.

    A few executions are late, reported by two agents, reported on two days, or corrected by an event without one metric
    of the first. One agent and one metric of another stop.
    """
    random = Random(20260901)
    rows: list[CookbookRow] = []
    for number in range(EXECUTIONS):
        execution, agent = str(UUID(int=random.getrandbits(128))), f"agent-{random.randrange(AGENTS):02}"
        completed = FIRST + timedelta(milliseconds=random.randrange((DAYS - 1) * 86_400_000))
        event = _event(random, number, execution, agent, completed)
        rows += event
        if number % 200 == 50:
            rows += _event(random, number, execution, f"agent-{(int(agent[-2:]) + 1) % AGENTS:02}", completed)
        if number % 200 == 100:
            rows += _event(random, number, execution, agent, completed + timedelta(days=1))
        if number % 50 == 0:
            earlier = event[0].recorded_at - timedelta(seconds=30)
            row = event[0]._replace(metric_type="only_before", user_id="user before", recorded_at=earlier, labels={})
            rows.append(_other_instant(row))
    rows += _event(random, EXECUTIONS, str(UUID(int=1)), "agent-03", datetime(2126, 1, 1, tzinfo=UTC))
    return [row for row in rows if not _has_stopped(row)]


def _event(random: Random, number: int, execution: str, agent: str, completed: datetime) -> list[CookbookRow]:
    user = f"user-{random.randrange(30)}" if random.random() < 0.9 else None
    recorded = completed + timedelta(milliseconds=random.randrange(5_000) + (random.random() < 0.05) * 7_200_000)
    ingested = recorded + timedelta(milliseconds=500 + (random.random() < 0.05) * 90_000_000)
    error = random.choice(("", "", "timeout"))
    labels = {
        **({"error.type": error} if error else {}),
        "gen_ai.request.model": random.choice(_MODELS),
        "service.version": "1.4" if completed < RELEASE else "1.5",
        "status": "error" if error else "ok",
    }
    return [
        CookbookRow(execution, agent, user, metric, _value(random, metric), completed, recorded, "events", number % 4,
                    number, ingested, labels)
        for metric in METRICS
    ]  # fmt: skip


def _value(random: Random, metric: str) -> float:
    return float(random.random() < 0.9) if metric == "result_success" else round(random.uniform(0, 9_999), 3)


def _has_stopped(row: CookbookRow) -> bool:
    if row.day.year > 2100:
        return False
    metric_stopped = row.agent_name == "agent-03" and row.metric_type == "tool_calls" and row.day >= date(2026, 9, 18)
    return metric_stopped or (row.agent_name == "agent-19" and row.day >= date(2026, 9, 10))


def _other_instant(row: CookbookRow) -> CookbookRow:
    """In the other half of the same day."""
    change = _HALF_DAY if row.completed_at.hour < 12 else -_HALF_DAY
    return row._replace(completed_at=row.completed_at + change)


ROWS = generate()


def older(row: CookbookRow) -> CookbookRow:
    """A version of a row that must not be shown: recorded before, with other contents, in the other half of the day."""
    before = row.recorded_at - timedelta(minutes=1)
    return _other_instant(row)._replace(
        metric_value=row.metric_value + 1e6, recorded_at=before, user_id="another user", labels={"status": "unknown"}
    )


def asked_at(now: datetime, query: str) -> str:
    """The query as it would be at `now`."""
    return query.replace("now('UTC')", f"toDateTime('{now:%F %T}', 'UTC')")


def insert(client: Client, rows: Iterable[CookbookRow]) -> None:
    """Insert `rows` without deduplication."""
    client.execute(f"INSERT INTO execution_metrics ({_COLUMNS}) VALUES", [row.insertable() for row in rows],
                   settings={"deduplicate_insert": "disable", "max_partitions_per_insert_block": 0})  # fmt: skip


def insert_narrow_parts(client: Client) -> None:
    """Insert `ROWS` and an older version of each, so that a part has versions of half a day only.

    Where a query has a bound at noon, one version of a row is in parts that the bound excludes.
    """
    narrow = [row for row in ROWS if _is_narrow(row)]
    insert(client, [version for row in ROWS if not _is_narrow(row) for version in (row, older(row))])
    for versions in (narrow, [older(row) for row in narrow]):
        for half in sorted({_half_day(row) for row in versions}):
            insert(client, [row for row in versions if _half_day(row) == half])


def _is_narrow(row: CookbookRow) -> bool:
    return _NARROW[0] <= row.completed_at < _NARROW[1]


def _half_day(row: CookbookRow) -> tuple[date, bool]:
    return row.day, row.completed_at.hour < 12
