"""The ten commands of the RUNBOOK settle dead letters of five causes, and the audit finds every metric afterwards."""

from collections import Counter
from typing import Any

import pytest
from clickhouse_driver import Client

from tests.integration.conftest import Environment, StartWorker, produce, read_dead_letters
from tests.support.commands import Commands
from tests.support.events import encoded, event
from tests.support.topic import send

RULES = ("CHECK metric_type != 'debt' OR metric_value >= 0", "CHECK metric_type != 'huge' OR metric_value < 100")
OF_EACH = 300
RENAME = 'if has("agent") then .agent_name = .agent | del(.agent) else . end'

pytestmark = [pytest.mark.any_broker, pytest.mark.timeout(300)]  # ten commands, each in a process of its own


def events_of_each_cause(number: int) -> list[dict[str, Any]]:
    """One to replay, one that fails again, one to discard, one to mend; each but the last has a valid metric too."""
    documents = [
        event(execution_id=f"{name}-{number}", metrics={name: value, "ok": number})
        for name, value in (("debt", -1), ("huge", 100), ("not a number", float("nan")))
    ]
    renamed = event(execution_id=f"renamed-{number}", metrics={"ok": number})
    renamed["agent"] = renamed.pop("agent_name")
    return [*documents, renamed]


async def test_ten_commands_settle_dead_letters_of_five_causes(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, commands: Commands
) -> None:
    for number, rule in enumerate(RULES):
        clickhouse.execute(f"ALTER TABLE execution_metrics ADD CONSTRAINT rule_{number} {rule}")
    start_worker()
    sent = [encoded(each) for number in range(OF_EACH) for each in events_of_each_cause(number)]
    await produce(environment, *sent)
    await read_dead_letters(environment, 4 * OF_EACH)
    foreign = [b"not ours"] * OF_EACH
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], foreign)
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT rule_0")  # the table is right now

    # The commands of the RUNBOOK, in their order.
    (shown,) = commands.json("dlq", "causes")
    assert (shown["total"], shown["foreign"]) == (4 * OF_EACH, OF_EACH)
    assert {cause["count"] for cause in shown["causes"]} == {OF_EACH}
    ids = {cause["metric"]: cause["cause"] for cause in shown["causes"]}
    (example,) = (cause["example"] for cause in shown["causes"] if cause["metric"] is None)
    assert '"agent"' in commands.json("dlq", "show", example)[0]["value"]["text"]
    assert commands.replay("--cause", ids["debt"])["metrics_written"] == OF_EACH
    assert commands.replay("--cause", ids["huge"], "--limit", "1", code=1)["metrics_written"] == 0
    edit = ("--edit", RENAME, "--reason", "agent was renamed")
    assert commands.replay("--cause", ids[None], *edit)["metrics_written"] == OF_EACH
    hopeless = ("--cause", ids["huge"], "--cause", ids["not a number"])
    (discarded,) = commands.json("dlq", "discard", *hopeless, "--reason", "wrong unit", "--yes")
    assert sum(discarded["dead_letters"].values()) == 2 * OF_EACH
    commands.json("dlq", "discard", "--cause", "foreign", "--reason", "not ours", "--yes")
    (left,) = commands.json("dlq", "causes")
    assert (left["total"], left["foreign"]) == (0, 0)
    (audit,) = commands.json("audit", "--to-end")
    history = commands.json("dlq", "history")

    sums = audit["sums"]
    assert (sums["missing"], sums["different"]) == (0, 0)
    assert (sums["edited"], sums["discarded"]) == (OF_EACH, {"wrong unit": 2 * OF_EACH})
    assert Counter(each["action"] for each in history) == {"replayed": 2, "edited": 1, "discarded": 2}
    rows = dict(clickhouse.execute("SELECT metric_type, count() FROM execution_metrics_deduplicated GROUP BY ALL"))
    assert rows == {"debt": OF_EACH, "ok": 4 * OF_EACH}
