"""Real commands are run and measured; every execution gives an event, however the command ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.events import Record
from worker.commands.exec_signals import SignalForwarder
from worker.commands.execution import Execution, measure
from worker.events.decode import decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PYTHON = (sys.executable, "-I", "-S", "-c")
MEASURE = (
    *(sys.executable, "-c"),
    """
import json, os, sys
from worker.commands.execution import measure
from worker.commands.exec_signals import ignore_signals
print(os.getpid(), flush=True)
with ignore_signals():
    execution = measure(sys.argv[1:], "agent")
    print(json.dumps([execution.event, execution.exit_code, execution.problem]), flush=True)
""",
)
"""Measures its arguments in a process of its own: prints its process id, and at the end the execution."""

PRINT_SIGNALS = """
import os, signal, time
def handle(number, frame):
    os.write(1, f"got {signal.Signals(number).name}\\n".encode())
    if number != signal.SIGINT:
        raise SystemExit(7)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, handle)
os.write(1, b"ready\\n")
while True:
    time.sleep(0.05)  # not pause(), which a signal just before it would never end
"""
"""Prints the signals that it receives; exits with 7 at any but SIGINT."""


def run(*command: str) -> Execution:
    return measure(command, "agent", "user")


def metrics_of(execution: Execution) -> dict[str, Any]:
    event = decode(Record(orjson.dumps(execution.event), timestamp=int(time() * 1000)))
    assert event is not None
    return event.metrics


# The event


def test_event_can_be_decoded_by_the_worker() -> None:
    execution = run(*PYTHON, "pass")
    event = decode(Record(orjson.dumps(execution.event), timestamp=int(time() * 1000)))
    assert event is not None
    assert str(event.execution_id) == execution.event["execution_id"] != run("true").event["execution_id"]
    assert (event.agent_name, event.user_id) == ("agent", "user")
    assert event.completed_at == pytest.approx(event.metrics["end_timestamp"] * 1000, abs=1)  # type: ignore[operator]
    assert all(isinstance(value, int | float) for value in event.metrics.values())
    assert execution.event["status"] == "succeeded"
    assert (execution.exit_code, execution.problem) == (0, None)
    metrics: dict[str, Any] = event.metrics
    assert metrics["total_duration_seconds"] > 0
    assert metrics["execution_time_ms"] == metrics["total_duration_seconds"] * 1000
    duration = metrics["end_timestamp"] - metrics["start_timestamp"]
    assert duration == pytest.approx(metrics["total_duration_seconds"], abs=1e-6)


def test_names_are_made_valid() -> None:
    event = measure(["true"], "agent\udcff" + "x" * 300, "user\udcff").event
    assert event["agent_name"] == "agent?" + "x" * 250
    assert event["user_id"] == "user?"


@pytest.mark.parametrize(("command", "agent_name"), [([], "agent"), (["true"], "")])
def test_command_and_agent_are_required(command: list[str], agent_name: str) -> None:
    with pytest.raises(ValueError, match="needed"):
        measure(command, agent_name)


# Measurements


def test_memory_is_the_peak_of_the_command() -> None:
    ballast = b"x" * (400 * 2**20)  # of this process: it must not count
    assert metrics_of(run("true"))["memory_usage_mb"] < 50
    assert 200 < metrics_of(run(*PYTHON, "x = b'x' * (200 * 2**20); del x"))["memory_usage_mb"] < 250
    del ballast


def test_memory_includes_a_grandchild() -> None:
    grandchild = (*PYTHON, "x = b'x' * (200 * 2**20)")
    metrics = metrics_of(run(*PYTHON, "import subprocess, sys; subprocess.run(sys.argv[1:])", *grandchild))
    assert metrics["memory_usage_mb"] > 200


def test_cpu_time_and_percent_are_those_of_the_command() -> None:
    metrics = metrics_of(run(*PYTHON, "from time import process_time\nwhile process_time() < 0.3: pass"))
    cpu_seconds = metrics["user_cpu_seconds"] + metrics["system_cpu_seconds"]
    assert 0.3 <= cpu_seconds < metrics["total_duration_seconds"] + 0.05
    assert metrics["cpu_percent"] == pytest.approx(100 * cpu_seconds / metrics["total_duration_seconds"])


def test_waiting_counts_as_duration_and_not_as_cpu() -> None:
    metrics = metrics_of(run(*PYTHON, "import select; select.select([], [], [], 0.3)"))
    assert metrics["total_duration_seconds"] >= 0.3
    assert metrics["user_cpu_seconds"] + metrics["system_cpu_seconds"] < 0.25
    assert metrics["voluntary_context_switches"] >= 1


# Exit codes


@pytest.mark.parametrize(
    ("command", "exit_code", "problem", "is_measured"),
    [
        ((*PYTHON, "raise SystemExit(3)"), 3, None, True),
        ((*PYTHON, "import os; os.kill(os.getpid(), 9)"), 128 + signal.SIGKILL, None, True),
        (
            (*PYTHON, "import os; os.kill(os.getppid(), 9)"),
            128 + signal.SIGKILL,
            "the usage reporter was killed; the command was not measured",
            False,
        ),
        (("no-such-command", "argument"), 127, "no-such-command: No such file or directory", False),
    ],
    ids=["exit", "signal", "usage reporter killed", "missing command"],
)
def test_failing_command_gives_an_event_with_its_exit_code(
    command: tuple[str, ...], exit_code: int, problem: str | None, is_measured: bool
) -> None:
    execution = run(*command)
    metrics = metrics_of(execution)
    assert (execution.exit_code, execution.problem) == (exit_code, problem)
    assert execution.event["status"] == "failed"
    assert (metrics["exit_code"], metrics["result_success"]) == (exit_code, False)
    assert (metrics.get("memory_usage_mb", 0) > 0) is is_measured


def test_command_that_is_not_executable_is_126(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("just text")
    assert (run(str(text)).exit_code, run(str(tmp_path)).exit_code) == (126, 126)
    text.chmod(0o755)
    assert run(str(text)).exit_code == 126


# What the command inherits


@dataclass
class MeasuringProcess:
    """A process that measures a command, with that command's standard input and output."""

    process: subprocess.Popen[str]
    pid: int

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def result(self) -> tuple[dict[str, Any], int]:
        event, exit_code, problem = json.loads(self.read_line())
        assert self.process.wait() == 0
        assert problem is None
        return event, exit_code


@contextmanager
def measuring(*command: str, wrapper: tuple[str, ...] = ()) -> Iterator[MeasuringProcess]:
    with subprocess.Popen(  # noqa: S603 - the commands of the tests here
        [*wrapper, *MEASURE, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield MeasuringProcess(process, int(process.stdout.readline()))
        finally:
            process.kill()


def test_command_inherits_the_standard_streams(capfd: pytest.CaptureFixture[str]) -> None:
    run("sh", "-c", "echo out; echo err >&2")
    assert capfd.readouterr() == ("out\n", "err\n")
    with measuring("head", "-n", "1") as child:
        child.type("one line\n")
        assert child.read_line() == "one line"
        assert child.result()[1] == 0


def test_command_inherits_other_descriptors() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    run(*PYTHON, f"import os; os.write({writer}, b'through')")
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "through"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_command_starts_without_blocked_or_ignored_signals(capfd: pytest.CaptureFixture[str]) -> None:
    run("grep", "^Sig", "/proc/self/status")
    masks = dict(line.split(":\t") for line in capfd.readouterr().out.splitlines())
    assert int(masks["SigBlk"], 16) == 0
    ignored = int(masks["SigIgn"], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored & 1 << number - 1


def test_ignored_signal_stays_ignored_by_the_command() -> None:
    program = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    with measuring(*PYTHON, program, wrapper=("sh", "-c", 'trap "" HUP; exec "$@"', "sh")) as child:
        assert child.read_line() == "True"


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_signal_is_forwarded_and_the_event_kept(number: signal.Signals) -> None:
    with measuring(*PYTHON, PRINT_SIGNALS) as child:
        assert child.read_line() == "ready"
        os.kill(child.pid, number)
        assert child.read_line() == f"got {number.name}"
        if number is signal.SIGINT:  # the command continues
            os.kill(child.pid, signal.SIGTERM)
            assert child.read_line() == "got SIGTERM"
        event, exit_code = child.result()
    assert exit_code == event["metrics"]["exit_code"] == 7


def test_command_that_handles_no_signal_is_ended_by_one_to_the_whole_group() -> None:
    with measuring("sh", "-c", "echo ready; exec cat") as child:
        assert child.read_line() == "ready"
        os.killpg(child.pid, signal.SIGTERM)
        event, exit_code = child.result()
    assert exit_code == 128 + signal.SIGTERM
    assert event["status"] == "failed"


def test_ctrl_c_at_a_terminal_reaches_the_command_once() -> None:
    terminal = (sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])")
    with measuring(*PYTHON, PRINT_SIGNALS, wrapper=terminal) as child:
        assert child.read_line() == "ready"
        child.type("\x03")
        assert child.read_line().removeprefix("^C") == "got SIGINT"
        # A second SIGINT would arrive before this, because the measuring process handles them in this order.
        os.kill(child.pid, signal.SIGTERM)
        assert child.read_line() == "got SIGTERM"
        assert child.result()[1] == 7


def test_signal_before_the_start_is_forwarded_after_it() -> None:
    forwarder = SignalForwarder()
    forwarder(signal.SIGTERM, None)
    with subprocess.Popen([*PYTHON, "input()"], stdin=subprocess.PIPE) as command:  # noqa: S603
        forwarder.set_target(command.pid)
        assert command.wait() == -signal.SIGTERM
    forwarder(signal.SIGTERM, None)  # the process has ended: no error


def test_signal_handlers_are_restored() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    run("true")
    run("no-such-command")
    assert before == [signal.getsignal(number) for number in numbers]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
