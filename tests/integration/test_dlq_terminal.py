"""`dlq` and `replay` at a terminal: the output fits it, and a question or a signal stops a replay."""

import signal
import socket
from collections.abc import Iterator

import pytest
from clickhouse_driver import Client

from tests.integration.conftest import Environment
from tests.support.commands import Commands, write_dead_letters
from tests.support.events import event, read, record
from tests.support.terminal import Terminal
from tests.support.topic import send
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Failure

pytestmark = pytest.mark.any_broker

REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", f"Constraint `x` is violated: {'words ' * 60}", 469)
UNAVAILABLE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
UNREADABLE = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "it is \x1b[31mno JSON")


@pytest.fixture
async def buried(environment: Environment) -> Environment:
    """The dead-letter topic holds two metrics, an event and a foreign record."""
    item = read(event(agent_name="an-agent-with-a-name-of-more-than-forty-characters"))
    await write_dead_letters(
        environment,
        FailedMetric(item, "cost_usd", -1, REFUSED, 3),
        FailedMetric(item, "ms", 1, UNAVAILABLE, 3),
        FailedEvent(record(b"{" + b"\xff\\" * 200, offset=1, key=b"k\x1b"), UNREADABLE),
    )
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], [b"\x1b]0;title\x07"])
    return environment


def lines_of(environment: Environment, *arguments: str, code: int = 0, columns: int = 80) -> list[str]:
    """What a command prints on a terminal."""
    with Terminal(environment, *arguments, columns=columns) as terminal:
        assert terminal.end() == code, terminal.written
    return terminal.lines


@pytest.mark.parametrize("columns", [80, 120])
async def test_output_fits_the_width_of_the_terminal(buried: Environment, columns: int) -> None:
    for arguments, code, text in (
        (("dlq", "stats"), 0, "row_refused"),
        (("dlq", "causes"), 0, "metric cost_usd"),
        (("dlq", "list"), 0, "metric cost_usd"),
        (("dlq", "show", "0:0"), 0, "Constraint `x` is violated"),
        (("replay", "--dry-run"), 1, "would be written"),
    ):
        lines = lines_of(buried, *arguments, code=code, columns=columns)
        assert any(text in line for line in lines), lines
        assert [line for line in lines if len(line) > columns and not line.startswith("value")] == []


async def test_list_has_position_class_and_error_at_80_columns(buried: Environment) -> None:
    lines = lines_of(buried, "dlq", "list")
    assert lines[0].startswith("0:0  ")
    assert "row_refused  469  metric cost_usd" in lines[0]
    assert lines[1].startswith("       Constraint `x` is violated")
    assert "0:3  no dead letter" in lines


async def test_value_is_printed_without_line_breaks_and_escapes_are_announced(buried: Environment) -> None:
    lines = lines_of(buried, "dlq", "show", "0:2")
    assert "value  {" + "\\xff\\\\" * 200 in lines
    assert any("--json has them" in line for line in lines), "the backslashes are doubled"
    assert not any("--json has them" in line for line in lines_of(buried, "dlq", "show", "0:0"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_at_the_question_means_no(buried: Environment, number: signal.Signals) -> None:
    with Terminal(buried, "replay") as terminal:
        terminal.until("[y/N]")
        if number is signal.SIGINT:
            terminal.type("\x03")
        else:
            terminal.process.send_signal(number)
        assert terminal.end() == 1
    assert "nothing was replayed" in terminal.lines


@pytest.mark.parametrize(("typed", "written"), [("n\n", 0), ("\n", 0), ("\x04", 0), ("y\n", 1), ("Yes\n", 1)])
async def test_only_yes_starts_the_replay(buried: Environment, clickhouse: Client, typed: str, written: int) -> None:
    with Terminal(buried, "replay", "--metric", "ms") as terminal:
        terminal.until("[y/N]")
        terminal.type(typed)
        assert terminal.end() == 1 - written
    assert ("nothing was replayed" in terminal.lines) is not bool(written)
    assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(written,)]


async def test_answer_of_clickhouse_that_ends_a_replay_cannot_control_the_terminal(
    buried: Environment, clickhouse: Client
) -> None:
    clickhouse.execute(  # with a code that is no fault of the row
        "CREATE MATERIALIZED VIEW v ENGINE = Memory AS "
        "SELECT throwIf(metric_value = 1, '\x1b]0;title\x07', toInt16(241)) FROM execution_metrics "
        "SETTINGS allow_custom_error_code_in_throwif = 1"
    )
    with Terminal(buried, "replay", "--metric", "ms", "--yes") as terminal:
        assert terminal.end() == 3
        assert "stopped: ClickHouse: MEMORY_LIMIT_EXCEEDED" in terminal.written
        assert "\\x1b]0;title" in terminal.written
        assert "\x1b]" not in terminal.written


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_before_the_question_stops_the_replay(
    environment: Environment, silent_server: socket.socket, number: signal.Signals
) -> None:
    address = f"127.0.0.1:{silent_server.getsockname()[1]}"
    with Terminal(environment | {"KAFKA_BOOTSTRAP_SERVERS": address}, "replay") as terminal:
        connection, _ = silent_server.accept()
        with connection:
            terminal.process.send_signal(number)
            assert terminal.end() == 1
    assert "nothing was replayed" in terminal.lines
    assert "Unclosed" not in terminal.written


async def test_report_names_the_command_that_lists_what_failed_again(buried: Environment) -> None:
    lines = lines_of(buried, "replay", "--yes", "--error-class", "invalid_event", code=1)
    assert [line for line in lines if "failed again:" in line] == [
        "1 failed again: metrics-worker dlq list --error-class invalid_event"
    ]
    (report,) = Commands(buried).json("dlq", "list", "--error-class", "invalid_event")
    assert report["replays"] == 1


async def test_discard_shows_what_it_is_about_to_do_and_asks(buried: Environment) -> None:
    arguments = ("dlq", "discard", "--error-class", "row_refused", "--reason", "typo \x1b[31m")
    for answer, code in (("n\r", 1), ("y\r", 0)):
        with Terminal(buried, *arguments) as terminal:
            terminal.until("Discard them? [y/N]: ")
            assert "1 dead letters: 1 row_refused" in terminal.written
            terminal.type(answer)
            assert terminal.end() == code, terminal.written
    commands = Commands(buried)
    assert [each["action"] for each in commands.json("dlq", "history")] == ["discarded"]
    shown = lines_of(buried, "dlq", "show", "0:0")
    assert any("discarded by" in line for line in shown), shown
    assert not any("\x1b[31m" in line for line in lines_of(buried, "dlq", "history"))
    assert lines_of(buried, *arguments, "--dry-run") == [
        "no open dead letter matches the filters",
        "discarded: 0 dead letters",
        "dry run: nothing was written",
    ]
