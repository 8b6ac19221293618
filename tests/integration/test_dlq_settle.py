"""Dead letters are discarded and restored by hand, and the history says who did it: the commands as processes."""

import json

import pytest
from clickhouse_driver import Client

from tests.integration.conftest import Environment, produce
from tests.support.commands import Commands, write_dead_letters
from tests.support.events import encoded, event
from tests.support.local import fresh_name
from tests.support.topic import read, send
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.events.decode import decode

REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
OUTAGE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)


@pytest.fixture
async def letters(environment: Environment) -> int:
    """An event whose three metrics are dead letters; returns their number."""
    await produce(environment, encoded(event(metrics={"a": 1, "b": 1, "c": 1}, completed_at=None)), partition=0)
    (source,) = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], 1)
    found = decode(source)
    assert found is not None
    failed = [FailedMetric(found, name, 1, cause, 1) for name, cause in (("a", REFUSED), ("b", REFUSED), ("c", OUTAGE))]
    await write_dead_letters(environment, *failed)
    return len(failed)


async def test_discarded_dead_letters_stand_nowhere_until_they_are_restored(
    commands: Commands, clickhouse: Client, letters: int
) -> None:
    (done,) = commands.json("dlq", "discard", "--error-class", "row_refused", "--reason", "wrong unit", "--yes")
    assert (done["action"], done["dead_letters"], done["dry_run"]) == ("discarded", {"row_refused": 2}, False)
    assert commands.count_open() == letters - 2
    report = commands.replay()
    assert (report["classes"].keys(), report["remaining"]) == ({"store_unavailable"}, 0)
    (sums,) = commands.json("audit", "--to-end")
    assert (sums["sums"]["discarded"], sums["sums"]["missing"]) == ({"wrong unit": 2}, 0)
    shown = commands.json("dlq", "show", "0:0", "0:2")
    assert [each["settlement"]["action"] for each in shown] == ["discarded", "replayed"]
    assert shown[0]["settlement"]["why"] == "wrong unit"

    (undone,) = commands.json("dlq", "restore", "--metric", "b", "--yes")
    assert undone["dead_letters"] == {"row_refused": 1}
    assert [each["metric"] for each in commands.json("dlq", "list")] == ["b"]
    assert commands.replay()["metrics_written"] == 1
    assert clickhouse.execute("SELECT metric_type FROM execution_metrics ORDER BY 1") == [("b",), ("c",)]
    again = commands.run("dlq", "restore", "--metric", "b", "--yes")
    assert json.loads(again.stdout)["dead_letters"] == {}, "it was replayed"
    assert (again.returncode, again.stderr) == (0, "no discarded dead letter matches the filters\n")

    history = commands.json("dlq", "history")
    assert [(each["action"], each["dead_letters"], each["outcome"], each["why"]) for each in history] == [
        ("discarded", 2, {"row_refused": 2}, "wrong unit"),
        ("replayed", 1, {"written": 1, "failed_again": 0, "not_replayable": 0}, None),
        ("reopened", 1, {"row_refused": 1}, None),
        ("replayed", 1, {"written": 1, "failed_again": 0, "not_replayable": 0}, None),
    ]
    assert "--error-class row_refused" in history[0]["command"]
    assert all("@" in each["by"] for each in history)
    assert commands.json("dlq", "history", "--limit", "1") == history[-1:]


@pytest.mark.any_broker
@pytest.mark.usefixtures("letters")
def test_nothing_is_discarded_without_a_reason_and_consent(commands: Commands) -> None:
    assert commands.run("dlq", "discard", "--yes").returncode == 2
    assert commands.run("dlq", "discard", "--yes", "--reason", " ").returncode == 2
    assert "--yes" in commands.run("dlq", "discard", "--reason", "x").stderr
    (report,) = commands.json("dlq", "discard", "--reason", "x", "--dry-run", "--limit", "2", code=1)
    assert (sum(report["dead_letters"].values()), report["beyond_limit"]) == (2, 1)
    assert commands.json("dlq", "history") == []
    assert commands.count_open() == 3


async def test_foreign_records_can_be_discarded(environment: Environment, commands: Commands) -> None:
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], [b"x", b"y"])
    assert commands.replay(code=1)["foreign"] == 2
    (report,) = commands.json("dlq", "discard", "--partition", "0", "--offset", "1", "--reason", "no letter", "--yes")
    assert report["dead_letters"] == {"foreign": 1}
    assert commands.replay(code=1)["foreign"] == 1


@pytest.mark.any_broker
@pytest.mark.usefixtures("letters")
def test_export_has_every_byte_as_list_and_show_have_in_whole(commands: Commands) -> None:
    exported = commands.json("dlq", "export", "--error-class", "row_refused")
    assert exported == commands.json("dlq", "list", "--whole", "--error-class", "row_refused")
    assert exported == commands.json("dlq", "show", "0:0", "0:1")
    assert json.loads(exported[0]["value"]["text"])["metric_type"] == "a"
    assert commands.json("dlq", "export", KAFKA_DLQ_TOPIC=fresh_name("none"), code=3) == []
