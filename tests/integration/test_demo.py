"""`python -m deploy.local demo`, as a process."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.local.process import REPOSITORY
from tests.support.local import find_processes, wait_until

FIRST, SECOND, THIRD = (f"{digit}b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081" for digit in "0af")
COMMAND = [sys.executable, "-m", "deploy.local", "demo"]


def run_demo(tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo, with its temporary files in the test's folder."""
    finished = subprocess.run(  # noqa: S603 - our own program
        [*COMMAND, *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path), **environment},
        timeout=100,
    )
    assert "Traceback" not in finished.stderr
    return finished


NOON = f"{datetime.now(UTC):%Y-%m-%d}T12:00:00Z"


def build_line(execution_id: str, metrics: str, **fields: object) -> bytes:
    """An event with `metrics` as JSON text."""
    document = {"execution_id": execution_id, "agent_name": "triage", "completed_at": NOON} | fields
    return json.dumps(document | {"metrics": "here"}).replace('"here"', metrics).encode()


def test_a_short_demo_passes_and_has_every_error_class(tmp_path: Path) -> None:
    finished = run_demo(tmp_path, "--count", "300", "--json")

    assert finished.returncode == 0, finished.stderr
    result: dict[str, Any] = json.loads(finished.stdout)
    assert result["events"] == 300
    assert result["events"] == result["events_read"] + result["events_unreadable"] + result["tombstones"]
    assert result["metrics"] == result["rows"] + result["metrics_dead_lettered"] + result["skipped"]
    assert result["dead_letters"].keys() == {"invalid_event", "invalid_metric", "row_refused", "too_large"}
    assert all(result["dead_letters"].values())
    assert sum(result["dead_letters"].values()) == result["events_unreadable"] + result["metrics_dead_lettered"]
    assert result["skipped_by_type"].keys() == {"string", "null", "array", "object"}
    assert (result["lost"], result["duplicates"], result["wrong"], result["uncommitted"]) == (0, 0, 0, 0)
    assert result["executions_measured"] >= 24
    assert result["events_per_second"] > 0
    assert list(tmp_path.iterdir()) == []


def test_each_line_of_a_file_becomes_what_the_contract_says(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(
        b"\n".join(
            [
                build_line(FIRST, '{"cost_usd": 1, "result_success": true, "model": "large", "parent": null}'),
                build_line(FIRST, '{"cost_usd": 2, "tokens": 3}'),  # replaces the first cost
                build_line(SECOND, '{"score": NaN, "cost_usd": 1e400, "tokens": 5, "execution_time_ms": -1}'),
                build_line(THIRD, "{}"),
                build_line(THIRD, '{"tokens": 1}', schema_version=2),
                build_line("run_1", '{"tokens": 1}', labels={"model": "m-1", "bad": 1}, status="ok", user_id=42),
                build_line("", '{"tokens": 1}'),
                b"\xff\xfe garbage \x00",
                b'{"execution_id": "',
                b"  ",  # blank: not sent
                b"[1, 2]",
            ]
        )
    )

    finished = run_demo(tmp_path, "--events", str(file), "--json", PERSISTENCE_ENABLED="false", KAFKA_TOPIC="elsewhere")

    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    expected = {
        "events": 10,
        "events_read": 5,
        "events_unreadable": 5,
        "tombstones": 0,
        "metrics": 11,
        "rows": 5,
        "rows_replaced": 1,
        "executions": 3,
        "executions_measured": 0,
        "dead_letters": {"invalid_event": 5, "invalid_metric": 2, "row_refused": 1},
        "skipped": 2,
        "skipped_by_type": {"string": 1, "null": 1},
        "lost": 0,
        "duplicates": 0,
        "balanced": True,
    }
    assert {name: result[name] for name in expected} == expected


def test_count_and_events_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.touch()

    assert run_demo(tmp_path, "--events", str(file), "--count", "5").returncode == 2


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path, stop_signal: signal.Signals) -> None:
    folder, log = tmp_path / "tmp", tmp_path / "log"
    folder.mkdir()
    with log.open("wb") as stderr:
        running = subprocess.Popen(  # noqa: S603 - our own program
            [*COMMAND, "--count", "300"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(folder)},
        )
    try:
        wait_until(lambda: b"ClickHouse up" in log.read_bytes(), "the stack is up", 60.0)
        running.send_signal(stop_signal)
        printed, _ = running.communicate(timeout=30)
    finally:
        running.kill()

    assert running.returncode == 128 + stop_signal
    assert printed == b""
    assert b"Traceback" not in log.read_bytes()
    assert find_processes(str(folder)) == []
    assert list(folder.iterdir()) == []
