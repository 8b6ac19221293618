"""`python -m deploy.local explore`, as a process, and the month that it generates."""

import json
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local.explore.agents import AGENTS
from deploy.local.explore.month import count_rows, generate_month
from tests.support.events import Record
from tests.support.local import run_local_program
from worker.events.fan_out import FanOut

NOW = datetime(2026, 9, 29, 14, 30, tzinfo=UTC)
COUNT = 600


def test_printed_commands_answer_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with run_local_program(tmp_path, "explore", "--count", str(COUNT)) as printed:
        answers = [paste(line) for line in printed if " -c " in line]
    assert [len(answer.splitlines()) >= 3 for answer in answers] == [True, True, True]


def paste(line: str) -> str:
    """What a shell prints for the line."""
    shell = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True, cwd="/")  # noqa: S603
    assert shell.stderr == ""
    return shell.stdout


@pytest.fixture(scope="module")
def month() -> list[dict[str, Any]]:
    return [json.loads(message.value or b"") for message in generate_month(20_000, NOW)]


def test_every_event_is_valid_and_every_metric_a_row() -> None:
    """By the worker's own fan-out, with the timestamps of the records."""
    fan_out = FanOut()
    rows = 0
    for number, message in enumerate(generate_month(2_000, NOW)):
        assert message.timestamp_ms is not None
        fan_out.add_record(Record(message.value, offset=number, timestamp=message.timestamp_ms))
        rows += count_rows(message)
    assert (fan_out.rows, list(fan_out.failed), dict(fan_out.skipped)) == (rows, [], {})
    assert not fan_out.skipped_labels


def test_month_is_the_last_thirty_days_and_its_last_hour_has_executions(month: list[dict[str, Any]]) -> None:
    completed = [datetime.fromisoformat(event["completed_at"]) for event in month]
    assert completed == sorted(completed)
    assert NOW - timedelta(days=30) <= completed[0] < NOW - timedelta(days=29)
    assert sum(NOW - timedelta(hours=1) <= instant < NOW for instant in completed) >= 100
    assert len({event["execution_id"] for event in month}) == 20_000


def test_month_has_a_failed_release_and_a_silent_agent(month: list[dict[str, Any]]) -> None:
    releases, failed = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    last = {}
    for event in month:
        key = (event["agent_name"], event["labels"]["service.version"])
        releases[key] += 1
        failed[key] += not event["metrics"]["result_success"]
        assert ("error.type" in event["labels"]) == (event["status"] == "error")
        last[event["agent_name"]] = datetime.fromisoformat(event["completed_at"])
    assert releases.keys() == {(agent.name, release.name) for agent in AGENTS for release in agent.releases}
    share = {
        release: failed["support", release] / releases["support", release] for release in ("1.9.3", "2.0.0", "2.0.1")
    }
    assert share["2.0.0"] > 2 * max(share["1.9.3"], share["2.0.1"])
    silent = {agent for agent, instant in last.items() if instant < NOW - timedelta(days=2)}
    assert silent == {"translate"}


def test_each_label_has_few_values(month: list[dict[str, Any]]) -> None:
    values = {(name, value) for event in month for name, value in event["labels"].items()}
    assert max(Counter(name for name, _ in values).values()) <= 12
