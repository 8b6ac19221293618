"""The books of the chaos runs must object to whatever goes wrong, on the real servers: here the test is the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.demo.audit import Findings, Tolerance
from tests.chaos.field import GROUP, Field, opened
from tests.chaos.scenario import Scenario
from tests.chaos.stream import PLAIN
from tests.support.topic import send

EVENTS = 200
NOTHING = Scenario("nothing", "Nothing is broken.", lambda _: None, events=EVENTS, mix=PLAIN)
Spoil = Callable[[Field], None]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """A field whose records a worker has taken, all of them; each test puts the table back."""
    with opened(NOTHING, 1, EVENTS, 5.0, tmp_path_factory.mktemp("field")) as field:
        field.load.send_rest()
        member = field.crew.start()
        field.settle()
        field.crew.end(member)
        field.run_sql("CREATE TABLE kept AS execution_metrics ENGINE = Memory")
        field.run_sql("INSERT INTO kept SELECT * FROM execution_metrics")
        yield field


@pytest.fixture
def field(taken: Field) -> Field:
    taken.run_sql("TRUNCATE TABLE execution_metrics")
    taken.run_sql("INSERT INTO execution_metrics SELECT * FROM kept")
    return taken


def strict(field: Field) -> Findings:
    return field.audit(Tolerance())


def chaotic(field: Field) -> Findings:
    return field.audit(Tolerance(repeats=True))


FIRST_ROW = "SELECT * FROM kept ORDER BY source_partition, source_offset, metric_type LIMIT 1"


def put_row(field: Field, changes: str) -> None:
    """One row more: the first, with some of its columns changed."""
    field.run_sql(f"INSERT INTO execution_metrics SELECT * REPLACE ({changes}) FROM ({FIRST_ROW})")  # noqa: S608


def lose_a_row(field: Field) -> None:
    field.run_sql("TRUNCATE TABLE execution_metrics")
    field.run_sql(f"INSERT INTO execution_metrics SELECT * FROM kept EXCEPT ({FIRST_ROW})")  # noqa: S608


def change_a_value(field: Field) -> None:
    put_row(field, "metric_value + 1 AS metric_value, recorded_at + 1 AS recorded_at")


def invent_a_row(field: Field) -> None:
    put_row(field, "'invented' AS metric_type")


def give_a_row_to_another_day(field: Field) -> None:
    put_row(field, "completed_at + INTERVAL 1 DAY AS completed_at")


def test_they_balance_when_all_is_well(field: Field) -> None:
    found = strict(field)

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
def test_they_object_to_a_table_that_is_not_right(field: Field, spoil: Spoil, kind: str) -> None:
    spoil(field)

    for found in (chaotic(field), field.audit(Tolerance(repeats=True, unfinished=True))):
        assert getattr(found.differences, kind) == 1, found.differences


def test_a_row_that_is_twice_in_the_table_is_reported_and_twice_in_the_view_is_a_duplicate(field: Field) -> None:
    put_row(field, "ingested_at + 1 AS ingested_at")

    assert strict(field).differences.duplicates == 1
    found = chaotic(field)
    assert not found.differences
    assert found.differences.repeats["rows"] == 1

    field.run_sql("CREATE OR REPLACE VIEW execution_metrics_deduplicated AS SELECT * FROM execution_metrics")
    try:
        assert chaotic(field).differences.duplicates == 1
    finally:
        field.run_sql("CREATE OR REPLACE VIEW execution_metrics_deduplicated AS SELECT * FROM execution_metrics FINAL")


def test_a_dead_letter_that_nobody_owes_is_wrong(field: Field) -> None:
    place = [("dlq.source.partition", b"0"), ("dlq.source.offset", b"0"), ("dlq.kind", b"metric")]
    error = [("dlq.error.class", b"row_refused"), ("dlq.error.type", b"X"), ("dlq.error.message", b"x")]
    letter = b'{"metric_type": "invented", "metric_value": "1"}'
    servers = field.stack.broker.bootstrap_servers
    asyncio.run(send(servers, field.stack.dlq_topic, [letter], headers=[*place, *error]))

    assert chaotic(field).differences.wrong == 1


class TestCommits:
    """The last tests of this module: what they commit stays."""

    def test_a_record_that_is_not_committed_is_missed(self, field: Field) -> None:
        ends = dict(field.ledger.ends)
        commit(field, {**ends, 0: ends[0] - 1})

        assert strict(field).uncommitted == 1
        unfinished = field.audit(Tolerance(unfinished=True))
        assert unfinished.uncommitted == 0

    def test_what_is_not_committed_need_not_be_there(self, field: Field) -> None:
        ends = dict(field.ledger.ends)
        last = f"source_partition = 0 AND source_offset = {ends[0] - 1}"
        field.run_sql("TRUNCATE TABLE execution_metrics")
        field.run_sql(f"INSERT INTO execution_metrics SELECT * FROM kept WHERE NOT ({last})")  # noqa: S608 - numbers
        unfinished = Tolerance(unfinished=True)

        commit(field, {**ends, 0: ends[0] - 1})
        assert field.audit(unfinished).differences.lost == 0
        commit(field, ends)
        assert field.audit(unfinished).differences.lost == 5

    def test_a_commit_beyond_the_end_is_noticed(self, field: Field) -> None:
        ends = dict(field.ledger.ends)
        commit(field, {**ends, 1: ends[1] + 1})

        assert strict(field).uncommitted == 1
        assert field.audit(Tolerance(unfinished=True)).uncommitted == 1


def commit(field: Field, offsets: dict[int, int]) -> None:
    """Commit as a member of the group: others may not."""

    async def committing() -> None:
        consumer = AIOKafkaConsumer(
            field.stack.topic,
            bootstrap_servers=field.stack.broker.bootstrap_servers,
            group_id=GROUP,
            enable_auto_commit=False,
            session_timeout_ms=2_000,
            heartbeat_interval_ms=500,
        )
        async with consumer, asyncio.timeout(30):
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=100)
            topic = field.stack.topic
            await consumer.commit({TopicPartition(topic, number): offset for number, offset in offsets.items()})

    asyncio.run(committing())
