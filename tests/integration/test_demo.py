"""`python -m deploy.local demo`, as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.process import REPOSITORY
from tests.support.local import processes_naming, wait_until

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, THIRD = (f"{digit}b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081" for digit in "0af")
COMMAND = [sys.executable, "-m", "deploy.local", "demo"]


def demo(tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, its temporary files under the test's folder."""
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


def line(execution_id: str, metrics: str, **fields: object) -> bytes:
    """An event whose metrics are written as they are given."""
    document = {"execution_id": execution_id, "agent_name": "triage", "completed_at": "2026-01-31T12:00:00Z"} | fields
    return json.dumps(document | {"metrics": "here"}).replace('"here"', metrics).encode()


def test_a_short_demo_balances_and_meets_every_class_of_error(tmp_path: Path) -> None:
    finished = demo(tmp_path, "--count", "300", "--json")

    assert finished.returncode == 0, finished.stderr
    books: dict[str, Any] = json.loads(finished.stdout)
    assert books["events"] == 300
    assert books["events"] == books["events_read"] + books["events_unreadable"] + books["tombstones"]
    assert books["metrics"] == books["rows"] + books["metrics_dead_lettered"] + books["skipped"]
    assert books["dead_letters"].keys() == {"invalid_event", "invalid_metric", "row_refused", "too_large"}
    assert all(books["dead_letters"].values())
    assert sum(books["dead_letters"].values()) == books["events_unreadable"] + books["metrics_dead_lettered"]
    assert books["skipped_by_type"].keys() == {"string", "null", "array", "object"}
    assert (books["lost"], books["duplicates"], books["wrong"], books["uncommitted"]) == (0, 0, 0, 0)
    assert books["executions_measured"] >= 24
    assert books["events_per_second"] > 0
    assert list(tmp_path.iterdir()) == []


def test_lines_of_a_file_meet_the_fate_that_is_theirs(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(
        b"\n".join(
            [
                line(FIRST, '{"cost_usd": 1, "result_success": true, "model": "large", "parent": null}'),
                line(FIRST, '{"cost_usd": 2, "tokens": 3}'),  # replaces the first cost
                line(SECOND, '{"score": NaN, "cost_usd": 1e400, "tokens": 5, "execution_time_ms": -1}'),
                line(THIRD, "{}"),
                line(THIRD, '{"tokens": 1}', schema_version=2),
                line("no-uuid", '{"tokens": 1}'),
                b"\xff\xfe garbage \x00",
                b'{"execution_id": "',
                b"  ",  # blank: not sent
                b"[1, 2]",
            ]
        )
    )

    finished = demo(tmp_path, "--events", str(file), "--json", PERSISTENCE_ENABLED="false", KAFKA_TOPIC="elsewhere")

    assert finished.returncode == 0, finished.stderr
    books = json.loads(finished.stdout)
    expected = {
        "events": 9,
        "events_read": 4,
        "events_unreadable": 5,
        "tombstones": 0,
        "metrics": 10,
        "rows": 4,
        "rows_replaced": 1,
        "executions": 2,
        "executions_measured": 0,
        "dead_letters": {"invalid_event": 5, "invalid_metric": 2, "row_refused": 1},
        "skipped": 2,
        "skipped_by_type": {"string": 1, "null": 1},
        "lost": 0,
        "duplicates": 0,
        "balanced": True,
    }
    assert {name: books[name] for name in expected} == expected


def test_without_json_it_prints_a_report(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(line(FIRST, '{"tokens": 12345, "score": NaN}'))

    finished = demo(tmp_path, "--events", str(file), NO_COLOR="1", COLUMNS="80")

    assert finished.returncode == 0, finished.stderr
    assert "✔ everything accounted for: 0 lost, 0 duplicates" in finished.stdout
    assert "score = NaN" in finished.stdout
    assert "12,345" in finished.stdout
    assert "\x1b" not in finished.stdout
    assert max(map(len, finished.stdout.splitlines())) <= 80


def test_a_count_and_a_file_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.touch()

    assert demo(tmp_path, "--events", str(file), "--count", "5").returncode == 2


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing(tmp_path: Path, stop_signal: signal.Signals) -> None:
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
        wait_until(lambda: b"ClickHouse up" in log.read_bytes(), "the stack is up", 30.0)
        running.send_signal(stop_signal)
        printed, _ = running.communicate(timeout=30)
    finally:
        running.kill()

    assert running.returncode == 128 + stop_signal
    assert printed == b""
    assert b"Traceback" not in log.read_bytes()
    assert processes_naming(str(folder)) == []
    assert list(folder.iterdir()) == []
