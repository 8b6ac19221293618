"""Settlements on Apache Kafka, which has a limit for a record, deletes records, and keeps the order of a partition."""

import random
from uuid import UUID

import pytest
from clickhouse_driver import Client

from tests.kafka.workload import Workload
from tests.support.commands import Commands, write_dead_letters, write_pointers
from tests.support.events import encoded, event, read
from tests.support.terminal import Terminal
from tests.support.topic import configure, delete_records, send
from tests.support.topic import read as read_topic
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.events.decode import decode

OUTAGE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
ROWS = "SELECT count() FROM execution_metrics"


async def write_letters(environment: dict[str, str], causes: list[Failure]) -> None:
    """One dead letter of each failure, each of another event."""
    events = (read(event(execution_id=str(UUID(int=number)), metrics={})) for number in range(len(causes)))
    failed = [FailedMetric(item, "m", 1, cause, 1) for item, cause in zip(events, causes, strict=True)]
    for start in range(0, len(failed), 10_000):
        await write_dead_letters(environment, *failed[start : start + 10_000])


async def test_replays_of_one_of_two_causes_in_random_order_advance_and_write_nothing_again(
    environment: dict[str, str], clickhouse: Client
) -> None:
    causes = random.Random(1).choices([OUTAGE, REFUSED], k=40_000)
    await write_letters(environment, causes)
    commands, left, runs = Commands(environment, 200.0), causes.count(OUTAGE), 0
    clickhouse.execute("SYSTEM STOP MERGES execution_metrics")  # so that a row that is written twice is counted twice
    while left:
        replayed = min(4_000, left)
        left -= replayed
        report = commands.replay("--error-class", "store_unavailable", "--limit", "4000", code=int(left > 0))
        assert (report["metrics_written"], report["beyond_limit"]) == (replayed, int(left > 0))
        runs += 1
        assert clickhouse.execute(ROWS) == [(causes.count(OUTAGE) - left,)]
    assert runs == 5 + (causes.count(OUTAGE) > 20_000)
    assert commands.replay("--error-class", "store_unavailable")["metrics_written"] == 0
    assert commands.count_open() == causes.count(REFUSED)


async def test_settlement_that_is_too_large_for_the_topic_is_divided(
    environment: dict[str, str], workload: Workload
) -> None:
    # With the broker's clock as well, as the documented topic has it.
    limits = {"max.message.bytes": "5000", "message.timestamp.type": "LogAppendTime"}
    await configure(workload.servers, workload.dlq_topic, limits)
    await write_letters(environment, [OUTAGE, REFUSED] * 2_000)
    commands = Commands(environment)
    assert commands.replay("--error-class", "store_unavailable")["metrics_written"] == 2_000
    assert commands.count_open() == 2_000


async def test_source_records_that_retention_has_deleted_do_not_end_a_replay(
    environment: dict[str, str], workload: Workload, clickhouse: Client
) -> None:
    values = [encoded(event(execution_id=str(UUID(int=number)), metrics={"m": number})) for number in range(3)]
    await send(workload.servers, workload.topic, values, partition=0)
    found = [decode(record) for record in await read_topic(workload.servers, workload.topic, 3)]
    await write_pointers(environment, *(FailedMetric(item, "m", 1, OUTAGE, 1) for item in found if item))
    await write_letters(environment, [OUTAGE] * 3)
    await delete_records(workload.servers, workload.topic, {0: 3})
    report = Commands(environment).replay(code=1)
    assert report["classes"]["too_large"]["left"] == {"the source record is gone, or cannot be read": 3}
    assert (report["metrics_written"], report["problem"]) == (3, None)
    assert clickhouse.execute(ROWS) == [(3,)]


async def test_discard_leaves_out_what_is_replayed_or_expires_before_the_confirmation(
    environment: dict[str, str], workload: Workload, clickhouse: Client
) -> None:
    await write_letters(environment, [REFUSED] * 6)
    commands = Commands(environment)
    with Terminal(environment, "dlq", "discard", "--error-class", "row_refused", "--reason", "given up") as terminal:
        terminal.until("6 dead letters: 6 row_refused")
        await delete_records(workload.servers, workload.dlq_topic, {0: 1})
        assert commands.replay("--error-class", "row_refused", "--limit", "2", code=1)["metrics_written"] == 2
        terminal.type("y\r")
        assert terminal.end() == 0
    assert "6 were shown; 3 of them are left out: others" in terminal.written
    assert "discarded: 3 dead letters (3 row_refused)" in terminal.lines
    done = [(each["action"], each["dead_letters"]) for each in commands.json("dlq", "history")]
    assert sorted(done) == [("discarded", 3), ("replayed", 2)]
    assert (clickhouse.execute(ROWS), commands.count_open()) == ([(2,)], 0)


async def test_restore_leaves_out_what_is_restored_before_the_confirmation(
    environment: dict[str, str], clickhouse: Client
) -> None:
    await write_letters(environment, [REFUSED] * 4)
    commands = Commands(environment)
    commands.json("dlq", "discard", "--error-class", "row_refused", "--reason", "given up", "--yes")
    with Terminal(environment, "dlq", "restore") as terminal:
        terminal.until("4 dead letters: 4 row_refused")
        commands.json("dlq", "restore", "--limit", "3", "--yes", code=1)
        commands.replay("--error-class", "row_refused")
        terminal.type("y\r")
        assert terminal.end() == 0
    assert "reopened: 1 dead letters (1 row_refused)" in terminal.lines
    assert (clickhouse.execute(ROWS), commands.count_open()) == ([(3,)], 1)


@pytest.mark.parametrize(
    "edit", [(), ("--edit", ".metrics.m += 1", "--reason", "counted from 0")], ids=["as is", "edited"]
)
async def test_replay_leaves_out_what_is_discarded_or_expires_before_the_confirmation(
    environment: dict[str, str], workload: Workload, clickhouse: Client, edit: tuple[str, ...]
) -> None:
    await write_letters(environment, [OUTAGE] * 6)
    commands = Commands(environment)
    with Terminal(environment, "replay", "--error-class", "store_unavailable", *edit) as terminal:
        terminal.until("Replay them?")
        await delete_records(workload.servers, workload.dlq_topic, {0: 1})
        commands.json("dlq", "discard", "--reason", "given up", "--limit", "2", "--yes", code=1)
        terminal.type("y\r")
        assert terminal.end() == 0
    assert "6 were shown; 3 of them are left out: others" in terminal.written
    action = "edited" if edit else "replayed"
    done = [(each["action"], each["dead_letters"]) for each in commands.json("dlq", "history")]
    assert sorted(done) == [("discarded", 2), (action, 3)]
    assert (clickhouse.execute(ROWS), commands.count_open()) == ([(3,)], 0)
    sums = commands.json("dlq", "restore", "--settled-by", action, "--dry-run")[0]["dead_letters"]
    assert sums == {"store_unavailable": 3}


async def test_replay_of_nothing_that_is_left_after_the_confirmation_writes_nothing(
    environment: dict[str, str], workload: Workload, clickhouse: Client
) -> None:
    await write_letters(environment, [OUTAGE] * 3)
    with Terminal(environment, "replay") as terminal:
        terminal.until("Replay them?")
        await delete_records(workload.servers, workload.dlq_topic, {0: 3})
        terminal.type("y\r")
        assert terminal.end() == 0
    assert "3 were shown; 3 of them are left out: others" in terminal.written
    assert clickhouse.execute(ROWS) == [(0,)]
