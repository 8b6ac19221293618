"""Millions of rows, generated in the engine: executions of 20 agents over 90 days, ten metrics each."""

from datetime import UTC, datetime

from clickhouse_driver import Client

AGENTS = 20
DAYS = 90
FIRST_INSTANT = datetime(2026, 7, 1, tzinfo=UTC)
METRICS = (
    "execution_time_ms", "memory_usage_mb", "cpu_percent", "result_success", "input_tokens", "output_tokens",
    "cost_usd", "tool_calls", "retries", "queue_time_ms",
)  # fmt: skip

_DAY_MS = 86_400_000

# Hashes in place of random numbers, so that the rows are the same each time.
_INSERT = """
INSERT INTO {table} (execution_id, agent_name, user_id, metric_type, metric_value, completed_at, version,
                     source_topic, source_partition, ingested_at)
SELECT
    toString(reinterpretAsUUID(sipHash128(n))),
    concat('agent-', leftPad(toString(n % {agents}), 2, '0')),
    if(n % 7 = 0, NULL, concat('user-', toString(intHash64(n) % 5000))),
    {metrics}[m + 1],
    multiIf(
        m = 0, toFloat64(chance % 100000),
        m = 1, (chance % 1000000) / 1000,
        m = 2, (chance % 1000) / 10,
        m = 3, toFloat64(chance % 20 != 0),
        m = 4, toFloat64(chance % 8000),
        m = 5, toFloat64(chance % 2000),
        m = 6, (chance % 100000) / 1000000,
        m = 7, toFloat64(chance % 12),
        m = 8, toFloat64(chance % 50 = 0),
        (chance % 500000) / 1000),
    fromUnixTimestamp64Milli({since} + intDiv(n * {span}, {of}) + intHash64(n) % 1000, 'UTC') AS completed,
    bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Milli(
        completed + toIntervalMillisecond(intHash64(n + 1) % 5000) AS recorded)), 64), intDiv(n, 4)),
    'execution-completed',
    toInt32(n % 4),
    recorded + toIntervalMillisecond(200 + intHash64(n + 2) % 800)
FROM (SELECT intDiv(number, 10) AS n, number % 10 AS m, intHash64(number) AS chance FROM numbers({first}, {count}))
"""


def insert_rows(client: Client, rows: int, *, first: int = 0, of: int, table: str = "execution_metrics") -> None:
    """Insert rows `first` to `first + rows` of a total of `of`, which are spread evenly over the days."""
    client.execute(
        _INSERT.format(
            table=table,
            agents=AGENTS,
            metrics=list(METRICS),
            since=round(FIRST_INSTANT.timestamp() * 1000),
            span=DAYS * _DAY_MS,
            of=of // len(METRICS),
            first=first,
            count=rows,
        ),
        settings={"deduplicate_insert_select": "disable", "deduplicate_insert": "disable"},
    )
