"""The answers to the queries of schemas/QUERIES.md, computed from `ROWS` without ClickHouse."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

from tests.support.cookbook_agent_answers import AGENT_ANSWERS
from tests.support.cookbook_rows import RELEASE, ROWS, TODAY, WEEK, CookbookRow
from tests.support.cookbook_selection import MONTH, Answer, group, quantile, select, values

HOUR = timedelta(hours=1)
USER = "user-7"
EXECUTION = ROWS[0].execution_id
LETTERS = [
    # Of a metric that was written too, of two that were not, and of an event that cannot be parsed.
    ("0:1", "metric", "row_refused", "cost_usd", ROWS[0].agent_name, EXECUTION),
    ("0:2", "metric", "row_refused", "cost_usd", "agent-00", "run_1"),
    ("0:3", "metric", "invalid_metric", "no_such_metric", ROWS[0].agent_name, EXECUTION),
    ("0:4", "event", "invalid_event", None, None, None),
]


def p99_per_agent() -> Answer:
    week = group(select("execution_time_ms", *WEEK), lambda row: row.agent_name)
    return [(agent, len(rows), quantile(rows, 0.99)) for agent, rows in week]


def select_day_of_agent(metric: str) -> list[CookbookRow]:
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
    month = select("cost_usd", *MONTH)
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
    rows = [row for row in ROWS if row.execution_id == EXECUTION]
    latest = max(row.version for row in rows)
    metrics = {row.metric_type: row.metric_value for row in rows if row.version == latest}
    earlier = {row.metric_type: row.metric_value for row in rows if row.version < latest}
    columns = (metrics[name] for name in ("result_success", "execution_time_ms", "cost_usd"))
    row = rows[0]
    return [(row.agent_name, row.user_id, row.completed_at, row.labels, *columns, metrics, earlier)]


def executions_of_user() -> Answer:
    rows = [row for row in select("cost_usd") if row.user_id == USER]
    rows.sort(key=lambda row: (-row.completed_at.timestamp(), row.execution_id))
    return [(row.completed_at, row.execution_id, row.agent_name, row.metric_value) for row in rows[:20]]


def counted_twice() -> Answer:
    executions = group(select("cost_usd", *MONTH), lambda row: row.execution_id)
    return [
        (execution, sorted((row.agent_name, row.day, row.metric_value) for row in rows))
        for execution, rows in executions
        if len(rows) > 1
    ]


def stopped_arriving() -> Answer:
    last: dict[tuple[str, str], Any] = {}
    for row in ROWS:
        if row.completed_at < TODAY + timedelta(days=1):
            key = (row.agent_name, row.metric_type)
            last[key] = max(row.day, last.get(key, row.day))
    stopped = defaultdict(list)
    for (agent, metric), day in last.items():
        if timedelta(days=3) < TODAY.date() - day <= timedelta(days=30):
            stopped[agent, day].append(metric)
    return [(agent, sorted(metrics), day) for (agent, day), metrics in sorted(stopped.items())]


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
    function.__name__: cache(function)
    for function in (
        p99_per_agent, one_metric_one_agent_one_day, per_minute, per_day, cost_per_user, success_rate,
        failures_around_a_release, slowest, one_execution, executions_of_user, counted_twice, stopped_arriving, late,
        dead_lettered_against_written,
    )
} | AGENT_ANSWERS  # fmt: skip
