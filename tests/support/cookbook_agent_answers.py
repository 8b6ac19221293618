"""The answers to the queries about what agents did lately and what it cost, as in `cookbook_answers`."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from functools import cache

from tests.support.cookbook_rows import ROWS, TODAY, WEEK, CookbookRow
from tests.support.cookbook_selection import MONTH, Answer, group, select, values

DAY = timedelta(days=1)
MIDNIGHT = datetime.combine(TODAY, time(tzinfo=UTC))


def last_hour() -> Answer:
    rows = select("result_success", TODAY - timedelta(hours=1), TODAY + timedelta(milliseconds=1))
    return [
        (agent, len(found), values(found).count(0.0), max(row.completed_at for row in found))
        for agent, found in group(rows, lambda row: row.agent_name)
    ]


def cost_by_model() -> Answer:
    models = group(select("cost_usd", *MONTH), lambda row: row.labels["gen_ai.request.model"])
    costs = [(model, len(rows), sum(values(rows)), sum(values(rows)) / len(rows)) for model, rows in models]
    return sorted(costs, key=lambda cost: -cost[2])


def cost_by_release() -> Answer:
    answer = []
    for (agent, release), rows in group(
        select("cost_usd", *MONTH), lambda row: (row.agent_name, row.labels["service.version"])
    ):
        since = min(row.completed_at for row in rows)
        answer.append((agent, release, since, len(rows), sum(values(rows)), sum(values(rows)) / len(rows)))
    return sorted(answer, key=lambda line: (line[0], line[2]))


def cost_of_failures() -> Answer:
    def owner(row: CookbookRow) -> tuple[object, ...]:
        return row.day, row.agent_name, row.execution_id

    failed = {owner(row) for row in select("result_success", *WEEK) if row.metric_value == 0}
    rows = [row for row in select("cost_usd", *WEEK) if owner(row) in failed]
    costs = [
        (*key, len(found), sum(values(found)))
        for key, found in group(rows, lambda row: (row.agent_name, row.labels.get("error.type", "")))
    ]
    return sorted(costs, key=lambda cost: -cost[3])


def week_on_week() -> Answer:
    answer = []
    for agent, rows in group(select("cost_usd", MIDNIGHT - 14 * DAY, MIDNIGHT), lambda row: row.agent_name):
        now, before = (
            values(row for row in rows if (row.completed_at >= MIDNIGHT - 7 * DAY) is late) for late in (True, False)
        )
        change = sum(now) / sum(before) - 1 if before else None
        answer.append((agent, len(now), len(before), sum(now), sum(before), change))
    return sorted(answer, key=lambda line: -line[3])


def executions_of_agent() -> Answer:
    rows = [
        row
        for row in select("execution_time_ms", MIDNIGHT - 7 * DAY, TODAY + timedelta(milliseconds=1))
        if row.agent_name == "agent-07"
    ]
    rows.sort(key=lambda row: (-row.completed_at.timestamp(), row.execution_id))
    return [
        (row.completed_at, row.execution_id, row.user_id, row.metric_value, row.labels["status"]) for row in rows[:20]
    ]


def silent_agents() -> Answer:
    since, today = (MIDNIGHT - 30 * DAY).date(), MIDNIGHT.date()
    agents = group([row for row in ROWS if since <= row.day <= today], lambda row: row.agent_name)
    days = [(agent, {row.day for row in rows}) for agent, rows in agents]
    silent = [(agent, max(active), len(active)) for agent, active in days if max(active) < today - DAY]
    return sorted(silent, key=lambda line: (-line[2], line[0]))


def which_metrics() -> Answer:
    until = (MIDNIGHT + DAY).date()
    metrics = group([row for row in ROWS if row.day <= until], lambda row: row.metric_type)
    return [
        (metric, len(rows), len({row.agent_name for row in rows}), min(days), max(days))
        for metric, rows in metrics
        if (days := [row.day for row in rows])
    ]


AGENT_ANSWERS: dict[str, Callable[[], Answer]] = {
    function.__name__: cache(function)
    for function in (
        last_hour, cost_by_model, cost_by_release, cost_of_failures, week_on_week, executions_of_agent, silent_agents,
        which_metrics,
    )
}  # fmt: skip
