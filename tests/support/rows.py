"""Millions of rows, generated in the engine: executions of 20 agents over 90 days, with ten metrics and four labels."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from clickhouse_driver import Client

AGENTS = 20
DAYS = 90
FIRST_INSTANT = datetime(2026, 7, 1, tzinfo=UTC)
METRICS = (
    "execution_time_ms", "memory_usage_mb", "cpu_percent", "result_success", "input_tokens", "output_tokens",
    "cost_usd", "tool_calls", "retries", "queue_time_ms",
)  # fmt: skip

_DAY_MS = 86_400_000
_IDS = {
    "uuid": "toString(reinterpretAsUUID(sipHash128(n)))",
    "run": "concat('run_', substring(lower(hex(sipHash128(n))), 1, 12))",
}

# Hashes in place of random numbers, so that the rows are the same each time.
_INSERT = """
INSERT INTO {table} (execution_id, agent_name, user_id, metric_type, metric_value, completed_at, version,
                     source_topic, source_partition, ingested_at, labels)
SELECT
    {ids},
    concat('agent-', leftPad(toString(n % {agents}), 2, '0')),
    if(n % 7 = 0, NULL, concat('user-', toString(intHash64(n) % 5000))),
    {metrics}[m + 1],
    multiIf(
        m % 10 = 0, toFloat64(chance % 100000),
        m % 10 = 1, (chance % 1000000) / 1000,
        m % 10 = 2, (chance % 1000) / 10,
        m % 10 = 3, toFloat64(chance % 20 != 0),
        m % 10 = 4, toFloat64(chance % 8000),
        m % 10 = 5, toFloat64(chance % 2000),
        m % 10 = 6, (chance % 100000) / 1000000,
        m % 10 = 7, toFloat64(chance % 12),
        m % 10 = 8, toFloat64(chance % 50 = 0),
        (chance % 500000) / 1000),
    fromUnixTimestamp64Milli({since} + intDiv(n * {span}, {of}) + intHash64(n) % 1000, 'UTC') AS completed,
    bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(
        completed + toIntervalMillisecond(intHash64(n + 1) % 5000) AS recorded)), 64), intDiv(n, 4)),
    'execution-completed',
    toInt32(n % 4),
    recorded + toIntervalMillisecond(200 + intHash64(n + 2) % 800),
    CAST(map(
        'deployment.environment.name', ['production', 'staging', 'dev'][least(intHash64(n + 3) % 10, 2) + 1],
        'gen_ai.request.model', concat('model-', toString(intHash64(n + 4) % 8)),
        'service.version', concat('1.', toString(intDiv(n * 12, {of})), '.', toString(intHash64(n + 5) % 2)),
        'status', ['ok', 'error', 'timeout'][least(intHash64(n + 6) % 20, 2) + 1]
    ), 'Map(LowCardinality(String), LowCardinality(String))')
FROM (
    SELECT intDiv(number, {width}) AS n, number % {width} AS m, intHash64(number) AS chance
    FROM numbers({first}, {count})
)
"""


def metric_names(count: int) -> list[str]:
    """The first `count` of `METRICS`, and more names after these."""
    return [*METRICS, *(f"metric_{number}" for number in range(len(METRICS), count))][:count]


def insert_rows(
    client: Client,
    rows: int,
    *,
    first: int = 0,
    of: int,
    table: str = "execution_metrics",
    metrics: Sequence[str] = METRICS,
    ids: Literal["uuid", "run"] = "uuid",
) -> None:
    """Insert rows `first` to `first + rows` of a total of `of`, which are spread evenly over the days.

    As the worker does, the INSERT looks for no rows to replace within its block.
    """
    client.execute(
        _INSERT.format(
            table=table,
            agents=AGENTS,
            metrics=list(metrics),
            width=len(metrics),
            ids=_IDS[ids],
            since=round(FIRST_INSTANT.timestamp() * 1000),
            span=DAYS * _DAY_MS,
            of=of // len(metrics),
            first=first,
            count=rows,
        ),
        settings={
            "deduplicate_insert_select": "disable",
            "deduplicate_insert": "disable",
            "optimize_on_insert": 0,
        },
    )
