"""Dead letters of real causes are shown by cause, and each cause is settled by one command."""

from collections import Counter

import pytest
from clickhouse_driver import Client

from tests.integration.conftest import Environment, StartWorker, produce, read_dead_letters
from tests.support.commands import Commands, Json
from tests.support.events import encoded, event
from tests.support.topic import headers_of, send

RULES = (
    "ALTER TABLE execution_metrics ADD CONSTRAINT `a 1` CHECK metric_type != 'a' OR metric_value >= 0",
    "ALTER TABLE execution_metrics ADD CONSTRAINT `a 2` CHECK metric_type != 'a' OR metric_value < 100",
    """CREATE MATERIALIZED VIEW picky ENGINE = MergeTree ORDER BY tuple() AS
    SELECT if(metric_type = 'b', toUInt8(agent_name), 0) AS number FROM execution_metrics""",
)
OF_EACH = 3

pytestmark = [pytest.mark.any_broker, pytest.mark.timeout(300)]  # it runs twenty commands, each in a process of its own


def by_message(commands: Commands) -> dict[str, Json]:
    (shown,) = commands.json("dlq", "causes")
    return {cause["message"]: cause for cause in shown["causes"]}


async def test_dead_letters_of_each_cause_are_settled_by_one_command(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, commands: Commands
) -> None:
    for rule in RULES:
        clickhouse.execute(rule)
    start_worker()
    for number in range(1, OF_EACH + 1):
        await produce(
            environment,
            encoded(event(metrics={"a": -number, "ok": 1}, agent_name=f"agent {number}")),
            encoded(event(metrics={"a": 100 * number})),
            encoded(event(metrics={"b": number}, agent_name=f"it's {number}")),
            encoded(event(metrics={"c": float("inf")})),
            encoded(event(agent_name=number)),
        )
        # One batch for each, so that the rows and messages differ.
        letters = await read_dead_letters(environment, 5 * number)
        of_metrics = Counter(headers_of(letter).get("dlq.metric") for letter in letters)
        assert of_metrics == {"a": 2 * number, "b": number, "c": number, None: number}
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], [b"x", b"y"])

    causes = by_message(commands)
    constraints = [
        f"Constraint `a {number}` for table {environment['CLICKHOUSE_DATABASE']}.execution_metrics" for number in (1, 2)
    ]
    view = f"while pushing to view {environment['CLICKHOUSE_DATABASE']}.picky"
    metric, field = "? does not fit a Float64", "agent_name must be a string of ? to ? characters"
    assert {message: (cause["count"], cause["metric"]) for message, cause in causes.items()} == {
        constraints[0]: (OF_EACH, "a"),
        constraints[1]: (OF_EACH, "a"),
        view: (OF_EACH, "b"),
        metric: (OF_EACH, "c"),
        field: (OF_EACH, None),
    }
    assert causes[constraints[0]]["agents"] == ["agent 1", "agent 2", "agent 3"]
    first = causes[constraints[0]]["cause"]
    assert {each["cause"] for each in commands.json("dlq", "list", "--metric", "a")} == {
        first,
        causes[constraints[1]]["cause"],
    }
    assert [len(commands.json("dlq", name, "--cause", first)) for name in ("list", "export")] == [OF_EACH] * 2
    assert commands.json("dlq", "stats", "--cause", first)[0]["total"] == OF_EACH

    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT `a 1`")
    assert commands.replay("--cause", first)["metrics_written"] == OF_EACH
    again = commands.replay("--cause", causes[constraints[1]]["cause"], code=1)
    assert again["classes"]["row_refused"]["failed_again"] == OF_EACH
    assert by_message(commands)[constraints[1]]["cause"] == causes[constraints[1]]["cause"], "it failed again as before"
    for cause in (*(causes[message]["cause"] for message in (constraints[1], view, metric, field)), "foreign"):
        (done,) = commands.json("dlq", "discard", "--cause", cause, "--reason", "wrong", "--yes")
        assert sum(done["dead_letters"].values()) == (2 if cause == "foreign" else OF_EACH)
    (shown,) = commands.json("dlq", "causes")
    assert (shown["total"], shown["foreign"], shown["causes"]) == (0, 0, [])
    commands.json("dlq", "restore", "--cause", causes[view]["cause"], "--yes")
    assert by_message(commands).keys() == {view}
