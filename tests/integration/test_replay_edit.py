"""Dead letters are mended by an expression and replayed: the commands as processes on real servers."""

import json
import signal
from typing import Any
from uuid import UUID

import pytest
from clickhouse_driver import Client

from tests.integration.conftest import Environment, StartWorker, produce, read_dead_letters
from tests.support.commands import Commands, write_dead_letters
from tests.support.events import encoded, event
from tests.support.events import read as read_event
from tests.support.local import wait_until
from tests.support.terminal import Terminal
from tests.support.topic import read as read_topic
from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterPosition, Edit, FailedMetric, Failure, ReplayedRecord
from worker.events.decode import decode

OUTAGE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
RENAME = 'if has("agent") then .agent_name = .agent | del(.agent) else . end'
WHY = ("--reason", "the producer has renamed a field")
ROWS = "SELECT agent_name, metric_type, metric_value, source_partition, source_offset FROM {} ORDER BY ALL"


def rows_of_view(client: Client) -> list[tuple[Any, ...]]:
    answer: list[tuple[Any, ...]] = client.execute(ROWS.format("execution_metrics_deduplicated"))
    return answer


@pytest.fixture
async def renamed_field(environment: Environment, start_worker: StartWorker, commands: Commands) -> int:
    """Dead letters of events that have `agent` for `agent_name`, and of one without; returns how many the first are."""
    start_worker()
    documents = [event(execution_id=str(UUID(int=number)), metrics={"m": number - 1}) for number in range(5)]
    for document in documents[:4]:
        document["agent"] = document.pop("agent_name")
    del documents[4]["agent_name"]
    await produce(environment, *map(encoded, documents), partition=1)
    await read_dead_letters(environment, 5)
    wait_until(lambda: commands.count_open() == 5, "the dead letters")
    return 4


@pytest.mark.any_broker
@pytest.mark.usefixtures("not_negative")
def test_preview_shows_a_sample_and_what_decoder_and_constraints_would_say_of_each(
    commands: Commands, clickhouse: Client, renamed_field: int
) -> None:
    (report,) = commands.json("replay", "--edit", RENAME, *WHY, "--dry-run", code=1)
    counts = report["classes"]["invalid_event"]
    assert (counts["chosen"], counts["written"], counts["failed_again"]) == (renamed_field + 1, 3, 2)
    assert counts["left"] == {
        "would be refused: the expression changes nothing": 1,
        "would be refused: violates the constraint metric_value >= 0": 1,
    }
    samples = report["edit"]["samples"]
    assert [sample["problem"] for sample in samples] == ["violates the constraint metric_value >= 0", None, None]
    assert ("agent" in json.loads(samples[0]["before"]), "agent" in json.loads(samples[0]["after"])) == (True, False)
    assert report["edit"]["examples"].keys() == {reason.removeprefix("would be refused: ") for reason in counts["left"]}
    assert report["edit"]["constraints_unknown"] is None
    assert (rows_of_view(clickhouse), commands.count_open(), commands.json("dlq", "history")) == ([], 5, [])


@pytest.mark.usefixtures("not_negative")
def test_mended_dead_letters_become_rows_and_the_others_stay(
    commands: Commands, clickhouse: Client, renamed_field: int
) -> None:
    report = commands.replay("--edit", RENAME, *WHY, code=1)
    assert (report["metrics_written"], report["classes"]["invalid_event"]["left"]) == (
        renamed_field - 1,
        {"the expression changes nothing": 1},
    )
    assert [row[1:4] for row in rows_of_view(clickhouse)] == [("m", 0.0, 1), ("m", 1.0, 1), ("m", 2.0, 1)]
    again, untouched = sorted(
        commands.json("dlq", "list", "--whole"), key=lambda each: str(each["error_class"] != "row_refused")
    )
    assert (again["metric"], again["replays"], again["edit"]["expression"]) == ("m", 1, RENAME)
    assert (untouched["replays"], untouched["edit"]) == (0, None)
    (original,) = commands.json("dlq", "show", again["edit"]["original"])
    assert "agent" in json.loads(original["value"]["text"])
    assert (original["settlement"]["action"], original["settlement"]["edit"]) == ("edited", RENAME)
    (entry,) = commands.json("dlq", "history")
    assert (entry["action"], entry["edit"], entry["why"], entry["dead_letters"]) == ("edited", RENAME, WHY[1], 4)
    assert entry["outcome"] == {"written": 3, "failed_again": 1, "not_replayable": 1}

    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    assert commands.replay("--error-class", "row_refused")["metrics_written"] == 1
    commands.json("dlq", "discard", *WHY, "--yes")
    (audit,) = commands.json("audit", "--to-end")
    assert (audit["sums"]["edited"], audit["sums"]["discarded"], audit["sums"]["missing"]) == (4, {WHY[1]: 1}, 0)


@pytest.mark.any_broker
async def test_edited_value_replaces_the_row_that_a_failing_view_has_left(
    environment: Environment, commands: Commands, clickhouse: Client, start_worker: StartWorker
) -> None:
    clickhouse.execute(
        "CREATE MATERIALIZED VIEW strict ENGINE = Memory AS SELECT throwIf(metric_value > 100) FROM execution_metrics"
    )
    start_worker()
    await produce(environment, encoded(event(metrics={"percent": 5_000})), partition=1)
    await read_dead_letters(environment, 1)
    wait_until(lambda: commands.count_open() == 1, "the dead letter")
    wait_until(lambda: [row[2] for row in rows_of_view(clickhouse)] == [5_000.0], "the row that the view refuses")
    assert commands.replay("--edit", ".metrics.percent /= 100", "--reason", "unit")["metrics_written"] == 1
    assert [row[2] for row in rows_of_view(clickhouse)] == [50.0]
    clickhouse.execute("OPTIMIZE TABLE execution_metrics FINAL")
    assert [row[2] for row in rows_of_view(clickhouse)] == [50.0]
    (audit,) = commands.json("audit", "--to-end")
    assert (audit["sums"]["edited"], audit["sums"]["different"]) == (1, 0)


async def test_edit_that_is_killed_is_continued_by_the_next_one(
    environment: Environment, commands: Commands, clickhouse: Client
) -> None:
    events = (read_event(event(execution_id=str(UUID(int=number)), metrics={})) for number in range(500))
    await write_dead_letters(environment, *(FailedMetric(item, "m", 1, OUTAGE, 1) for item in events))
    arguments = ("--edit", ".metrics.m = 2", "--reason", "unit")
    with commands.start("replay", "--yes", *arguments, "--rate", "100") as process:
        wait_until(lambda: len(rows_of_view(clickhouse)) > 0, "the first rows", timeout_seconds=30)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert 0 < len(rows_of_view(clickhouse)) < 500
    commands.replay(*arguments)
    assert {row[2] for row in rows_of_view(clickhouse)} == {2.0}
    assert (len(rows_of_view(clickhouse)), commands.count_open()) == (500, 0)


async def test_audit_counts_as_edited_what_was_edited_by_an_edit_that_was_killed(
    environment: Environment, commands: Commands, clickhouse: Client
) -> None:
    """What was edited has failed again, and the edit was killed before it settled the original."""
    await produce(environment, encoded(event(metrics={"m": 5_000})), partition=1)
    (source,) = await read_topic(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], 1)
    original = decode(source)
    assert original is not None
    await write_dead_letters(environment, FailedMetric(original, "m", 5_000, OUTAGE, 1))
    at = DeadLetterPosition(0, 0)
    edit = Edit("operator@host", ".metrics.m = 50", at, "0" * 64)
    record = source.topic, source.partition, source.offset, source.timestamp, source.key, None, source.headers
    again = ReplayedRecord(*record, replays=1, attempts=1, replaces=at, whole=False, edit=edit)
    await write_dead_letters(environment, FailedMetric(original._replace(record=again), "m", 50, OUTAGE, 1))
    assert commands.count_open() == 1
    assert commands.replay()["metrics_written"] == 1
    assert [row[2] for row in rows_of_view(clickhouse)] == [50.0]
    (audit,) = commands.json("audit", "--to-end")
    assert (audit["sums"]["edited"], audit["sums"]["different"]) == (1, 0)


@pytest.mark.any_broker
@pytest.mark.usefixtures("renamed_field")
def test_confirmation_shows_the_preview(environment: Environment, commands: Commands) -> None:
    with Terminal(environment, "replay", "--edit", RENAME, *WHY, columns=200) as terminal:
        terminal.until("Replay them? [y/N]")
        terminal.type("n\r")
        assert terminal.end() == 1
    shown = "\n".join(terminal.lines)
    assert shown.count("becomes") == 3
    assert "4 would be written" in shown
    assert "1 invalid_event would be refused: the expression changes nothing" in shown
    assert commands.count_open() == 5
