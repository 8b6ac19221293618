"""The books of the chaos runs must object to whatever goes wrong, on the real servers: here the test is the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.demo.verification import Tolerance, Verification
from tests.chaos.environment import GROUP, Environment, open_environment
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import Scenario
from tests.support.topic import send

EVENTS = 200
NOTHING = Scenario("nothing", "Nothing is broken.", lambda _: None, events=EVENTS, mix=VALID_ONLY)
Producer = Callable[[Environment], None]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A field whose records a worker has taken, all of them; each test puts the table back."""
    with open_environment(NOTHING, 1, EVENTS, 5.0, tmp_path_factory.mktemp("field")) as env:
        env.load.send_rest()
        worker = env.workers.start()
        env.wait_until_committed()
        env.workers.terminate(worker)
        env.run_sql("CREATE TABLE kept AS execution_metrics ENGINE = Memory")
        env.run_sql("INSERT INTO kept SELECT * FROM execution_metrics")
        yield env


@pytest.fixture
def env(finished_run: Environment) -> Environment:
    finished_run.run_sql("TRUNCATE TABLE execution_metrics")
    finished_run.run_sql("INSERT INTO execution_metrics SELECT * FROM kept")
    return finished_run


def strict(env: Environment) -> Verification:
    return env.verify(Tolerance())


def chaotic(env: Environment) -> Verification:
    return env.verify(Tolerance(repeats=True))


FIRST_ROW = "SELECT * FROM kept ORDER BY source_partition, source_offset, metric_type LIMIT 1"


def put_row(env: Environment, changes: str) -> None:
    """One row more: the first, with some of its columns changed."""
    env.run_sql(f"INSERT INTO execution_metrics SELECT * REPLACE ({changes}) FROM ({FIRST_ROW})")  # noqa: S608


def lose_a_row(env: Environment) -> None:
    env.run_sql("TRUNCATE TABLE execution_metrics")
    env.run_sql(f"INSERT INTO execution_metrics SELECT * FROM kept EXCEPT ({FIRST_ROW})")  # noqa: S608


def change_a_value(env: Environment) -> None:
    put_row(env, "metric_value + 1 AS metric_value, recorded_at + 1 AS recorded_at")


def invent_a_row(env: Environment) -> None:
    put_row(env, "'invented' AS metric_type")


def give_a_row_to_another_day(env: Environment) -> None:
    put_row(env, "completed_at + INTERVAL 1 DAY AS completed_at")


def test_they_balance_when_all_is_well(env: Environment) -> None:
    found = strict(env)

    assert not found.differences
    assert (found.uncommitted, found.counts.rows_in_view) == (0, EVENTS * 5)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lose_a_row, "lost"),
        (change_a_value, "wrong"),
        (invent_a_row, "wrong"),
        (give_a_row_to_another_day, "wrong"),
    ],
)
def test_they_object_to_a_table_that_is_not_right(env: Environment, spoil: Producer, kind: str) -> None:
    spoil(env)

    for found in (chaotic(env), env.verify(Tolerance(repeats=True, unfinished=True))):
        assert getattr(found.differences, kind) == 1, found.differences


def test_a_row_that_is_twice_in_the_table_is_reported_and_twice_in_the_view_is_a_duplicate(env: Environment) -> None:
    put_row(env, "ingested_at + 1 AS ingested_at")

    assert strict(env).differences.duplicates == 1
    found = chaotic(env)
    assert not found.differences
    assert found.differences.repeats["rows"] == 1

    env.run_sql("CREATE OR REPLACE VIEW execution_metrics_deduplicated AS SELECT * FROM execution_metrics")
    try:
        assert chaotic(env).differences.duplicates == 1
    finally:
        env.run_sql("CREATE OR REPLACE VIEW execution_metrics_deduplicated AS SELECT * FROM execution_metrics FINAL")


def test_a_dead_letter_that_nobody_owes_is_wrong(env: Environment) -> None:
    position = [("dlq.source.partition", b"0"), ("dlq.source.offset", b"0"), ("dlq.kind", b"metric")]
    error = [("dlq.error.class", b"row_refused"), ("dlq.error.type", b"X"), ("dlq.error.message", b"x")]
    letter = b'{"metric_type": "invented", "metric_value": "1"}'
    servers = env.stack.broker.bootstrap_servers
    asyncio.run(send(servers, env.stack.dlq_topic, [letter], headers=[*position, *error]))

    assert chaotic(env).differences.wrong == 1


class TestCommits:
    """The last tests of this module: what they commit stays."""

    def test_a_record_that_is_not_committed_is_missed(self, env: Environment) -> None:
        ends = dict(env.ledger.ends)
        commit(env, {**ends, 0: ends[0] - 1})

        assert strict(env).uncommitted == 1
        unfinished = env.verify(Tolerance(unfinished=True))
        assert unfinished.uncommitted == 0

    def test_what_is_not_committed_need_not_be_there(self, env: Environment) -> None:
        ends = dict(env.ledger.ends)
        last = f"source_partition = 0 AND source_offset = {ends[0] - 1}"
        env.run_sql("TRUNCATE TABLE execution_metrics")
        env.run_sql(f"INSERT INTO execution_metrics SELECT * FROM kept WHERE NOT ({last})")  # noqa: S608 - numbers
        unfinished = Tolerance(unfinished=True)

        commit(env, {**ends, 0: ends[0] - 1})
        assert env.verify(unfinished).differences.lost == 0
        commit(env, ends)
        assert env.verify(unfinished).differences.lost == 5

    def test_a_commit_beyond_the_end_is_noticed(self, env: Environment) -> None:
        ends = dict(env.ledger.ends)
        commit(env, {**ends, 1: ends[1] + 1})

        assert strict(env).uncommitted == 1
        assert env.verify(Tolerance(unfinished=True)).uncommitted == 1


def commit(env: Environment, offsets: dict[int, int]) -> None:
    """Commit as a member of the group: others may not."""

    async def committing() -> None:
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

    asyncio.run(committing())
