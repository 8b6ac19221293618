"""Dead letters at a terminal: what somebody reads at night, and how they stop what they have started."""

import signal
import socket
from collections.abc import Iterator

import pytest
from clickhouse_driver import Client

from tests.integration.test_replay import Commands, bury
from tests.support.events import event, read, record
from tests.support.terminal import Terminal
from tests.support.topic import send
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Failure

Environment = dict[str, str]
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", f"Constraint `x` is violated: {'words ' * 60}", 469)
AWAY = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
UNREAD = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "it is \x1b[31mno JSON")


@pytest.fixture
async def buried(environment: Environment) -> Environment:
    item = read(event(agent_name="an-agent-with-a-name-of-more-than-forty-characters"))
    whole = FailedEvent(record(b"{" + b"\xff\\" * 200, offset=1, key=b"k\x1b"), UNREAD)
    await bury(environment, FailedMetric(item, "cost_usd", -1, REFUSED, 3), FailedMetric(item, "ms", 1, AWAY, 3), whole)
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], [b"\x1b]0;title\x07"])
    return environment


@pytest.mark.parametrize("columns", [80, 120])
async def test_what_is_shown_fits_the_terminal(buried: Environment, columns: int) -> None:
    for command, says in (
        (("dlq", "stats"), "row_refused"),
        (("dlq", "list"), "metric cost_usd"),
        (("dlq", "show", "0:0"), "Constraint `x` is violated"),
        (("replay", "--dry-run"), "would be written"),
    ):
        with Terminal(buried, *command, columns=columns) as terminal:
            assert terminal.end() in (0, 1)
        assert any(says in line for line in terminal.lines), terminal.written
        assert [line for line in terminal.lines if len(line) > columns and not line.startswith("value")] == []


async def test_each_letter_has_its_place_class_and_error_at_80_columns(buried: Environment) -> None:
    with Terminal(buried, "dlq", "list") as terminal:
        assert terminal.end() == 0
    first, error, *_ = terminal.lines
    assert first.startswith("0:0  ")
    assert "row_refused  469  metric cost_usd" in first
    assert error.startswith("       Constraint `x` is violated")
    assert "0:3  no dead letter" in terminal.lines


async def test_a_value_is_copied_without_line_breaks(buried: Environment) -> None:
    with Terminal(buried, "dlq", "show", "0:2") as terminal:
        assert terminal.end() == 0
    assert "value  {" + "\\xff\\\\" * 200 in terminal.lines
    assert any("--json has them" in line for line in terminal.lines), "the backslashes are doubled"
    with Terminal(buried, "dlq", "show", "0:0") as terminal:
        assert terminal.end() == 0
    assert not any("--json has them" in line for line in terminal.lines)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_at_the_question_a_stop_is_a_no(buried: Environment, how: signal.Signals) -> None:
    with Terminal(buried, "replay") as terminal:
        terminal.until("[y/N]")
        if how is signal.SIGINT:
            terminal.type("\x03")
        else:
            terminal.process.send_signal(how)
        assert terminal.end() == 1
    assert "nothing was replayed" in terminal.lines


@pytest.mark.parametrize(("typed", "written"), [("n\n", 0), ("\n", 0), ("\x04", 0), ("y\n", 1), ("Yes\n", 1)])
async def test_only_a_yes_is_a_yes(buried: Environment, clickhouse: Client, typed: str, written: int) -> None:
    with Terminal(buried, "replay", "--metric", "ms") as terminal:
        terminal.until("[y/N]")
        terminal.type(typed)
        assert terminal.end() == 1 - written
    assert ("nothing was replayed" in terminal.lines) is not bool(written)
    assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(written,)]


@pytest.fixture
def silent() -> Iterator[tuple[str, socket.socket]]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield f"127.0.0.1:{server.getsockname()[1]}", server


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_before_the_question_a_stop_is_heard(
    environment: Environment, silent: tuple[str, socket.socket], how: signal.Signals
) -> None:
    address, server = silent
    with Terminal(environment | {"KAFKA_BOOTSTRAP_SERVERS": address}, "replay") as terminal:
        connection, _ = server.accept()
        with connection:
            terminal.process.send_signal(how)
            assert terminal.end() == 1
    assert "nothing was replayed" in terminal.lines
    assert "Unclosed" not in terminal.written


async def test_what_failed_again_is_where_the_report_says(buried: Environment) -> None:
    with Terminal(buried, "replay", "--yes", "--error-class", "invalid_event") as terminal:
        assert terminal.end() == 1
    (line,) = [line for line in terminal.lines if "failed again:" in line]
    assert line == "1 failed again: metrics-worker dlq list --error-class invalid_event"
    (report,) = Commands(buried).json("dlq", "list", "--error-class", "invalid_event")
    assert report["replays"] == 1
