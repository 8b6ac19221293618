"""The verification of demo, chaos and fuzz on the real servers: each change of the results must be detected.

The rules themselves are in `tests/unit/deploy/test_demo_comparison.py` and `test_demo_dead_letters.py`.
"""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.demo.verification import STRICT, Tolerance
from tests.chaos.environment import GROUP, Environment, open_environment
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import Scenario
from tests.support.topic import send

EVENTS = 200
NOTHING = Scenario("nothing", "Nothing is broken.", lambda _: None, events=EVENTS, mix=VALID_ONLY)
REPEATS, UNFINISHED = Tolerance(repeats=True), Tolerance(unfinished=True)
FIRST_ROW = "SELECT * FROM kept ORDER BY source_partition, source_offset, metric_type LIMIT 1"
ALL_ROWS = "SELECT * FROM kept"
VIEW = """
CREATE OR REPLACE VIEW execution_metrics_deduplicated AS SELECT *, recorded_at, source_offset FROM execution_metrics
"""


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A run in which a worker has consumed all records; each test restores the table."""
    with open_environment(NOTHING, 1, EVENTS, 5.0, tmp_path_factory.mktemp("chaos")) as env:
        env.load.send_rest()
        worker = env.workers.start()
        env.wait_until_committed()
        worker.terminate()
        env.run_sql("CREATE TABLE kept AS execution_metrics ENGINE = Memory")
        env.run_sql("INSERT INTO kept SELECT * FROM execution_metrics")
        yield env


@pytest.fixture
def env(finished_run: Environment) -> Environment:
    replace_rows(finished_run, ALL_ROWS)
    return finished_run


def replace_rows(env: Environment, *rows: str) -> None:
    """Insert the result of each query by itself, because ClickHouse deduplicates the rows of one insert."""
    env.run_sql("TRUNCATE TABLE execution_metrics")
    for query in rows:
        env.run_sql(f"INSERT INTO execution_metrics {query}")


def count_differences(env: Environment, tolerance: Tolerance) -> tuple[int, int, int]:
    differences = env.verify(tolerance).differences
    return differences.lost, differences.duplicates, differences.wrong


def with_changed_row(changes: str) -> tuple[str, str]:
    return ALL_ROWS, f"SELECT * REPLACE ({changes}) FROM ({FIRST_ROW})"  # noqa: S608


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((ALL_ROWS,), (0, 0, 0)),
        ((f"{ALL_ROWS} EXCEPT ({FIRST_ROW})",), (1, 0, 0)),
        (with_changed_row("metric_value + 1 AS metric_value"), (0, 0, 1)),
        (with_changed_row("'another' AS user_id"), (0, 0, 1)),
        (with_changed_row("version + bitShiftLeft(toUInt128(1), 64) AS version"), (0, 0, 1)),
        (with_changed_row("version + 1 AS version"), (0, 0, 1)),
        (with_changed_row("'invented' AS metric_type"), (0, 0, 1)),
        (with_changed_row("completed_at + INTERVAL 1 DAY AS completed_at"), (0, 0, 1)),
    ],
    ids=["complete", "missing", "value", "user", "timestamp", "offset", "metric", "day"],
)
def test_missing_and_changed_rows_are_detected(
    env: Environment, rows: tuple[str, ...], expected: tuple[int, int, int]
) -> None:
    replace_rows(env, *rows)

    assert count_differences(env, REPEATS) == expected


def test_a_repeated_row_of_the_table_may_be_allowed_and_one_of_the_view_is_a_duplicate(env: Environment) -> None:
    replace_rows(env, *with_changed_row("ingested_at + 1 AS ingested_at"))

    assert count_differences(env, STRICT) == (0, 1, 0)
    assert count_differences(env, REPEATS) == (0, 0, 0)

    env.run_sql(VIEW)
    try:
        assert count_differences(env, REPEATS) == (0, 1, 0)
    finally:
        env.run_sql(f"{VIEW.rstrip()} FINAL")


def test_only_committed_records_must_be_there_when_the_worker_is_unfinished(env: Environment) -> None:
    """This and the next tests must be the last of the module: their commits and dead letters stay."""
    ends = dict(env.expectations.ends)
    replace_rows(env, f"{ALL_ROWS} WHERE NOT (source_partition = 0 AND source_offset = {ends[0] - 1})")

    commit(env, {**ends, 0: ends[0] - 1})
    assert env.verify(STRICT).uncommitted == 1
    unfinished = env.verify(UNFINISHED)
    assert (unfinished.uncommitted, unfinished.differences.lost) == (0, 0)
    commit(env, ends)
    assert env.verify(UNFINISHED).differences.lost == 5


def test_a_commit_beyond_the_end_is_counted(env: Environment) -> None:
    ends = dict(env.expectations.ends)
    commit(env, {**ends, 1: ends[1] + 1})

    assert env.verify(STRICT).uncommitted == 1
    assert env.verify(UNFINISHED).uncommitted == 1


def test_an_unexpected_dead_letter_is_wrong(env: Environment) -> None:
    headers = {
        "kind": "event", "error.class": "invalid_event", "error.type": "X", "error.message": "x", "replays": "0",
        "table": "t", "worker": "1", "source.partition": "0", "source.offset": "0", "source.timestamp": "0",
    }  # fmt: skip
    named = [(f"dlq.{name}", text.encode()) for name, text in headers.items()]
    asyncio.run(send(env.stack.broker.bootstrap_servers, env.stack.dlq_topic, [b"{"], headers=named))

    assert count_differences(env, REPEATS) == (0, 0, 1)


def commit(env: Environment, offsets: dict[int, int]) -> None:
    """Commit as a member of the group, because others may not."""

    async def join_and_commit() -> None:
        consumer = AIOKafkaConsumer(
            env.stack.topic,
            bootstrap_servers=env.stack.broker.bootstrap_servers,
            group_id=GROUP,
            enable_auto_commit=False,
            session_timeout_ms=2_000,
            heartbeat_interval_ms=500,
        )
        async with consumer, asyncio.timeout(30):
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=100)
            topic = env.stack.topic
            await consumer.commit({TopicPartition(topic, number): offset for number, offset in offsets.items()})

    asyncio.run(join_and_commit())
