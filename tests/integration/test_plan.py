"""`metrics-worker plan` with a broker and ClickHouse: what it reads of them, and that it changes nothing."""

from time import time

import pytest
from clickhouse_driver import Client

from deploy.local.broker import KafkaServer
from tests.integration.conftest import Environment, committed_offsets, events, produce
from tests.support.commands import Commands
from tests.support.terminal import Terminal
from tests.support.topic import commit
from worker.kafka.topic_rate import RATE_SECONDS


async def test_plan_reads_the_topic_the_group_and_the_table(
    environment: Environment, commands: Commands, clickhouse: Client
) -> None:
    now = int(time() * 1_000)
    await produce(environment, *events(40), partition=0, timestamps=[now] * 40)
    await produce(environment, *events(10), b"no event", partition=1, timestamps=[now] * 11)
    servers, topic, group = (environment[f"KAFKA_{name}"] for name in ("BOOTSTRAP_SERVERS", "TOPIC", "GROUP_ID"))
    await commit(servers, topic, group, {0: 30})
    before = await committed_offsets(environment)
    clickhouse.execute(
        "INSERT INTO execution_metrics (execution_id, agent_name, metric_type, metric_value, completed_at, version) "
        "SELECT toString(number), 'a', 'm', 1, '2026-01-01', number FROM numbers(1000)"
    )

    (found,) = commands.json("plan")

    measured, inputs = found["measured"], found["inputs"]
    assert (measured["records"], measured["rows"], measured["failed"]) == (51, 100, {"InvalidJSON": 1})
    assert inputs["events_per_second"]["value"] == pytest.approx(51 / RATE_SECONDS)
    assert inputs["partitions"]["value"] == 4
    assert inputs["lag"] == {"value": 21, "source": f"group {group}"}
    assert inputs["window"]["value"] == 10_000
    assert 0 < inputs["bytes_per_row"]["value"] < 100
    assert inputs["bytes_per_row"]["source"].endswith("execution_metrics, 1,000 rows")
    assert found["plan"]["catch_up_seconds"] > 0
    assert await committed_offsets(environment) == before


async def test_rate_is_that_of_the_last_minutes_or_not_known(
    environment: Environment, commands: Commands, broker: KafkaServer
) -> None:
    now = int(time() * 1_000)
    old = now - 2 * RATE_SECONDS * 1_000
    await produce(environment, *events(30), partition=2, timestamps=[old] * 20 + [now] * 10)
    if broker.finds_offsets_by_time:
        (found,) = commands.json("plan")
        assert found["inputs"]["events_per_second"]["value"] == pytest.approx(10 / RATE_SECONDS)
        return
    done = commands.run("plan")
    assert done.returncode == 2
    assert "Kafka's answer about times contradicts the records" in done.stderr


@pytest.mark.any_broker
async def test_report_at_a_terminal_fits_it_and_warnings_follow(environment: Environment) -> None:
    await produce(environment, *events(3, metrics={"a": 1, "model": "m"}))
    with Terminal(environment, "plan", "--rate", "1000", columns=100) as terminal:
        assert terminal.end() == 0, terminal.written
    *report, warning = terminal.lines
    assert [line for line in report if not line.startswith(" ")] == ["Measured", "Read or assumed", "Plan"]
    assert max(map(len, report)) <= 100
    assert any(line.split()[:2] == ["workers", "2"] for line in report)
    assert warning == "warning: metrics that are no numbers are skipped: 3 string in 3 events"


@pytest.mark.any_broker
def test_empty_topic_and_missing_table_are_named(commands: Commands, environment: Environment) -> None:
    done = commands.run("plan")
    assert done.returncode == 2
    assert f"there are no events to measure: the newest of topic {environment['KAFKA_TOPIC']}" in done.stderr
    missing = commands.run("plan", KAFKA_TOPIC="absent")
    assert missing.returncode == 3
    assert "KAFKA_TOPIC" in missing.stderr
