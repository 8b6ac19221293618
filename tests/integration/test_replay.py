"""Break, look, mend, replay: dead letters as whoever is on call meets them, with processes on real servers."""

import json
import subprocess
import sys
from typing import Any

import pytest
from clickhouse_driver import Client

from deploy.local.environment import without_settings
from tests.integration.conftest import StartWorker
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import read, send, size

Environment = dict[str, str]
Json = dict[str, Any]
VIEW = "SELECT metric_type, metric_value, recorded_at, source_partition, source_offset FROM {} ORDER BY ALL"


class Commands:
    """Runs the worker's commands on the test's stack."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=without_settings() | self.environment | changes,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str, code: int = 0, **changes: str) -> list[Json]:
        done = self.run(*arguments, **changes)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def replay(self, *arguments: str, code: int = 0, **changes: str) -> Json:
        (report,) = self.json("replay", "--yes", *arguments, code=code, **changes)
        return report


@pytest.fixture
def commands(environment: Environment) -> Commands:
    return Commands(environment)


def shown(client: Client, table: str = "execution_metrics_deduplicated") -> list[tuple[Any, ...]]:
    answer: list[tuple[Any, ...]] = client.execute(VIEW.format(table))
    return answer


async def put(environment: Environment, *values: bytes | None, **options: Any) -> None:
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], values, partition=1, **options)


async def letters(environment: Environment) -> list[Any]:
    servers, topic = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"]
    return await read(servers, topic, await size(servers, topic))


async def dead(environment: Environment, count: int) -> None:
    """Wait for so many dead letters."""
    found = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], count)
    assert len(found) == count


ODD: dict[str, float] = {
    "two53": 2**53 + 1,
    "minus_zero": -0.0,
    "tiny": 5e-324,
    "yes": True,
    "no": False,
    "below": -1.5,
}


async def test_row_refused_by_a_constraint_that_is_dropped(
    environment: Environment, start_worker: StartWorker, clickhouse: Client, commands: Commands
) -> None:
    clickhouse.execute("ALTER TABLE execution_metrics ADD CONSTRAINT never CHECK metric_type = 'good'")
    worker = start_worker()
    metrics = ODD | {"good": 1}
    headers = [("trace", b"\xff\x00"), ("dlq.kind", b"a lie"), ("dlq.error.code", b"7")]
    await put(environment, encoded(event(metrics=metrics, completed_at=None)), key=b"", headers=headers)
    await dead(environment, len(ODD))
    (statistics,) = commands.json("dlq", "stats")
    assert (statistics["total"], statistics["by_class"]["top"]) == (6, [{"value": "row_refused", "count": 6}])
    assert statistics["by_code"]["top"] == [{"value": 469, "count": 6}]
    assert {entry["place"] for entry in commands.json("dlq", "list", "--metric", "tiny")} <= {
        f"0:{n}" for n in range(6)
    }
    (shown_letter,) = commands.json("dlq", "show", commands.json("dlq", "list", "--metric", "tiny")[0]["place"])
    assert shown_letter["source_headers"] == [
        ["trace", {"base64": "/wA="}],
        ["dlq.kind", {"text": "a lie"}],
        ["dlq.error.code", {"text": "7"}],
    ]
    assert json.loads(shown_letter["value"]["text"])["metric_value"] == "5e-324"
    assert "Constraint `never`" in shown_letter["error_message"]
    assert shown_letter["to_do"]

    assert commands.replay("--metric", "tiny", code=1)["classes"]["row_refused"]["failed_again"] == 1
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT never")
    report = commands.replay()
    assert (report["remaining"], report["metrics_written"]) == (0, 6)
    assert [entry["total"] for entry in commands.json("dlq", "stats")] == [0]

    # Had nothing failed, the view would be the same: another worker, another table, the same record.
    worker.stop()
    clickhouse.execute("CREATE TABLE execution_metrics_2 AS execution_metrics")
    start_worker(CLICKHOUSE_TABLE="execution_metrics_2", KAFKA_GROUP_ID=environment["KAFKA_GROUP_ID"] + "2")
    wait_until(lambda: len(shown(clickhouse, "execution_metrics_2")) == 7, "every row once more")
    assert repr(shown(clickhouse)) == repr(shown(clickhouse, "execution_metrics_2 FINAL"))
    # And again: nothing to do, nothing changes.
    assert commands.replay()["classes"] == {}
    assert len(shown(clickhouse)) == 7
