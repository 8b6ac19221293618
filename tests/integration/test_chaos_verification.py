"""The verification of demo, chaos and fuzz on the real servers: each change of the results must be detected.

The rules themselves are in `tests/unit/deploy/test_demo_comparison.py` and `test_demo_dead_letters.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.demo.verification import STRICT, Tolerance
from tests.chaos.environment import GROUP, Environment, open_environment
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import Scenario
from tests.support.topic import send

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = 200
NOTHING = Scenario("nothing", "Nothing is broken.", lambda _: None, events=EVENTS, mix=VALID_ONLY)
REPEATS, UNFINISHED = Tolerance(repeats=True), Tolerance(unfinished=True)
FIRST_ROW = "SELECT * FROM kept ORDER BY source_partition, source_offset, metric_type LIMIT 1"
VIEW = "CREATE OR REPLACE VIEW execution_metrics_deduplicated AS SELECT * FROM execution_metrics"


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
    restore_rows(finished_run)
    return finished_run


def restore_rows(env: Environment, rows: str = "SELECT * FROM kept") -> None:
    env.run_sql("TRUNCATE TABLE execution_metrics")
    env.run_sql(f"INSERT INTO execution_metrics {rows}")


def repeat_first_row(env: Environment, changes: str) -> None:
    env.run_sql(f"INSERT INTO execution_metrics SELECT * REPLACE ({changes}) FROM ({FIRST_ROW})")  # noqa: S608


def count_differences(env: Environment, tolerance: Tolerance) -> tuple[int, int, int]:
    differences = env.verify(tolerance).differences
    return differences.lost, differences.duplicates, differences.wrong


def test_complete_results_have_no_differences(env: Environment) -> None:
    found = env.verify(STRICT)

    assert not found.differences
    assert (found.uncommitted, found.counts.rows_in_view) == (0, EVENTS * 5)


def test_a_missing_row_is_lost(env: Environment) -> None:
    restore_rows(env, f"SELECT * FROM kept EXCEPT ({FIRST_ROW})")  # noqa: S608

    assert count_differences(env, REPEATS) == (1, 0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        "metric_value + 1 AS metric_value",
        "'another' AS user_id",
        "completed_at + INTERVAL 1 MILLISECOND AS completed_at",
        "recorded_at + 1 AS recorded_at",
        "source_offset + 1 AS source_offset",
        "'invented' AS metric_type",
        "completed_at + INTERVAL 1 DAY AS completed_at",
    ],
)
def test_a_row_with_another_value_in_any_column_is_wrong(env: Environment, changes: str) -> None:
    repeat_first_row(env, changes)

    assert count_differences(env, REPEATS) == (0, 0, 1)


def test_a_repeated_row_of_the_table_may_be_allowed_and_one_of_the_view_is_a_duplicate(env: Environment) -> None:
    repeat_first_row(env, "ingested_at + 1 AS ingested_at")

    assert count_differences(env, STRICT) == (0, 1, 0)
    assert count_differences(env, REPEATS) == (0, 0, 0)

    env.run_sql(VIEW)
    try:
        assert count_differences(env, REPEATS) == (0, 1, 0)
    finally:
        env.run_sql(f"{VIEW} FINAL")


def test_only_committed_records_must_be_there_when_the_worker_is_unfinished(env: Environment) -> None:
    """This and the next tests must be the last of the module: their commits and dead letters stay."""
    ends = dict(env.expectations.ends)
    restore_rows(env, f"SELECT * FROM kept WHERE NOT (source_partition = 0 AND source_offset = {ends[0] - 1})")  # noqa: S608

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
