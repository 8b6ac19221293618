"""Logs for machines and for people: neither lets what others wrote reach a terminal as a command."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from clickhouse_driver import Client
from clickhouse_driver.errors import NetworkError

from deploy.local.process import free_port
from worker.observability import logs

HOSTILE = "\x1b]0;title\x07\x9b2J\u202e\r\n{}"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield
    root.handlers, root.level = before, level
    structlog.reset_defaults()


def logged(form: str) -> str:
    """What stands on stderr after a line of ours, one of a library, and a traceback, all with a hostile name in it."""
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


def test_for_people_nothing_is_a_command_to_the_terminal() -> None:
    out = logged("console")
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "metric=\\x1b]0;title\\x07\\x9b2J\\u202e\\r\\n{}" in out
    assert out.count("\nTraceback (most recent call last):\n") == 1, "a traceback keeps its lines"


def test_for_machines_each_entry_is_one_line_of_json() -> None:
    entries = [json.loads(line) for line in logged("json").splitlines()]
    assert [entry["event"] for entry in entries] == ["dead letter", f"it says {HOSTILE}", "unexpected"]
    assert entries[0]["metric"] == HOSTILE


def test_lines_go_where_stderr_is_at_the_time() -> None:
    """A progress bar takes its place for a while, and moves down for each line that is written to it."""
    logged("json")
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        logging.getLogger("library").warning("beside the bar")
    assert "beside the bar" in stderr.getvalue()


def test_a_connection_that_fails_is_no_traceback_of_the_driver() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        logs.configure("INFO", "console")
        with pytest.raises(NetworkError):
            Client("127.0.0.1", port=free_port()).execute("SELECT 1")
    assert stderr.getvalue() == ""
