"""Logs as JSON and for a terminal: no logged string controls the terminal, and libraries are limited too."""

import contextlib
import io
import json
import logging
import subprocess
import sys

import pytest
import structlog
from clickhouse_driver import Client
from clickhouse_driver.errors import NetworkError

from deploy.local.environment import environment_without_settings
from deploy.local.process import free_port
from worker.observability import logs
from worker.observability.rate_limiter import LINES_PER_KEY

CONFIGURE = """
import logging
from worker.observability import logs
logs.configure("INFO", "json")
"""
HOSTILE = "\x1b]0;title\x07\x9b2J\u202e\r\n{}"


def run_logging_program(program: str) -> list[str]:
    """The lines on stderr of a process that configures logging and runs `program`."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", CONFIGURE + program],
        capture_output=True,
        text=True,
        env=environment_without_settings(),
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def log_hostile_text(form: str) -> str:
    """What is on stderr after a line of ours, one of a library, and a traceback, each with hostile text."""
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        logs.configure("INFO", form)
        log = structlog.get_logger("worker.test")
        log.warning("dead letter", metric=HOSTILE, count=3, names=[HOSTILE])
        logging.getLogger("library").warning("it says %s", HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("unexpected")
    return stderr.getvalue()


def test_console_format_has_no_control_characters() -> None:
    out = log_hostile_text("console")
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "metric=\\x1b]0;title\\x07\\x9b2J\\u202e\\r\\n{}" in out
    assert out.count("\nTraceback (most recent call last):\n") == 1, "a traceback keeps its lines"


def test_json_format_is_one_object_per_line() -> None:
    entries = [json.loads(line) for line in log_hostile_text("json").splitlines()]
    assert [entry["event"] for entry in entries] == ["dead letter", f"it says {HOSTILE}", "unexpected"]
    assert entries[0]["metric"] == HOSTILE


def test_lines_go_to_the_current_stderr() -> None:
    """A progress bar replaces `sys.stderr` for a while, and moves below each line that is written to it."""
    log_hostile_text("json")
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        logging.getLogger("library").warning("beside the bar")
    assert "beside the bar" in stderr.getvalue()


def test_failed_clickhouse_connection_logs_no_traceback() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        logs.configure("INFO", "console")
        with pytest.raises(NetworkError):
            Client("127.0.0.1", port=free_port()).execute("SELECT 1")
    assert stderr.getvalue() == ""


@pytest.mark.parametrize(
    ("program", "line", "kind"),
    [
        (
            "for number in range(1_000): logging.getLogger('aiokafka.conn').warning('no way to %s', number)",
            "no way to {}",
            "aiokafka.conn: no way to %s",
        ),
        (
            """
import asyncio
loop = asyncio.new_event_loop()
for number in range(1_000):
    loop.call_exception_handler({"message": "Task exception was never retrieved", "future": number})
loop.close()
""",
            "Task exception was never retrieved\nfuture: {}",
            "asyncio: Task exception was never retrieved",
        ),
    ],
    ids=["aiokafka", "asyncio"],
)
def test_repeated_lines_of_libraries_are_summarised(program: str, line: str, kind: str) -> None:
    entries = [json.loads(line) for line in run_logging_program(program)]
    logged, (summary,) = entries[:LINES_PER_KEY], entries[LINES_PER_KEY:]
    assert [entry["event"] for entry in logged] == [line.format(number) for number in range(LINES_PER_KEY)]
    assert (summary["of"], summary["withheld"]) == (kind, 1_000 - LINES_PER_KEY)
