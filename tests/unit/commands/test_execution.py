"""Real commands are run and measured; whatever becomes of them, there is an event."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson
import pytest

from worker.commands.execution import Execution, measure
from worker.commands.signals import SignalForwarder
from worker.events.decode import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "event.schema.json").read_text(encoding="utf-8"))
PYTHON = (sys.executable, "-I", "-S", "-c")
MEASURE = (
    *(sys.executable, "-c"),
    """
import json, os, sys
from worker.commands.execution import measure
from worker.commands.signals import ignore_signals
print(os.getpid(), flush=True)
with ignore_signals():
    execution = measure(sys.argv[1:], "agent")
    print(json.dumps([execution.event, execution.exit_code, execution.problem]), flush=True)
""",
)
"""Measures its arguments in a process of its own: prints its process id, and in the end what was made of them."""

SAY_AND_WAIT = """
import os, signal
def handle(number, frame):
    os.write(1, f"got {signal.Signals(number).name}\\n".encode())
    if number != signal.SIGINT:
        raise SystemExit(7)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, handle)
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""
"""Says what signals it gets, without `print`, which no handler may do; ends with 7 at any but SIGINT."""


@dataclass(frozen=True)
class Record:
    """An event as the worker meets it on the topic."""

    value: bytes
    key: bytes | None = None
    topic: str = "events"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


def run(*command: str) -> Execution:
    return measure(command, "agent", "somebody")


def metrics_of(execution: Execution) -> dict[str, Any]:
    event = decode(Record(orjson.dumps(execution.event)))
    assert event is not None
    return event.metrics


# The event


def test_the_event_is_one_that_the_worker_reads() -> None:
    execution = run(*PYTHON, "pass")
    event = decode(Record(orjson.dumps(execution.event)))

    assert event is not None
    assert str(event.execution_id) == execution.event["execution_id"]
    assert (event.agent_name, event.user_id) == ("agent", "somebody")
    assert event.completed_at == pytest.approx(event.metrics["end_timestamp"] * 1000, abs=1)  # type: ignore[operator]
    assert all(isinstance(value, int | float) for value in event.metrics.values())
    assert execution.event["status"] == "succeeded"
    assert (execution.exit_code, execution.problem) == (0, None)


@pytest.mark.parametrize("command", ["true", "false", "no-such-command"])
def test_the_event_keeps_to_the_published_schema(command: str) -> None:
    jsonschema.validate(run(command).event, SCHEMA, format_checker=jsonschema.FormatChecker())


def test_each_execution_has_an_id_of_its_own() -> None:
    assert run("true").event["execution_id"] != run("true").event["execution_id"]


def test_the_times_agree() -> None:
    metrics = metrics_of(run(*PYTHON, "pass"))

    assert metrics["total_duration_seconds"] > 0
    assert metrics["execution_time_ms"] == metrics["total_duration_seconds"] * 1000
    assert metrics["end_timestamp"] - metrics["start_timestamp"] == pytest.approx(
        metrics["total_duration_seconds"], abs=1e-6
    )


def test_a_name_that_no_event_may_have_is_made_one() -> None:
    event = measure(["true"], "agent\udcff" + "x" * 300, "user\udcff").event

    assert event["agent_name"] == "agent?" + "x" * 250
    assert event["user_id"] == "user?"


@pytest.mark.parametrize(("command", "agent_name"), [([], "agent"), (["true"], "")])
def test_command_and_agent_are_needed(command: list[str], agent_name: str) -> None:
    with pytest.raises(ValueError, match="needed"):
        measure(command, agent_name)


# What is measured


def test_the_peak_of_memory() -> None:
    metrics = metrics_of(run(*PYTHON, "x = b'x' * (200 * 2**20); del x"))

    assert 200 < metrics["memory_usage_mb"] < 250


def test_the_memory_of_this_process_does_not_count() -> None:
    ballast = b"x" * (200 * 2**20)

    assert metrics_of(run("true"))["memory_usage_mb"] < 50
    del ballast


def test_the_memory_of_a_grandchild_counts() -> None:
    grandchild = (*PYTHON, "x = b'x' * (200 * 2**20)")

    metrics = metrics_of(run(*PYTHON, "import subprocess, sys; subprocess.run(sys.argv[1:])", *grandchild))

    assert metrics["memory_usage_mb"] > 200


def test_cpu() -> None:
    metrics = metrics_of(run(*PYTHON, "from time import process_time\nwhile process_time() < 0.3: pass"))

    cpu_seconds = metrics["user_cpu_seconds"] + metrics["system_cpu_seconds"]
    assert 0.3 <= cpu_seconds < metrics["total_duration_seconds"] + 0.05
    assert metrics["cpu_percent"] == pytest.approx(100 * cpu_seconds / metrics["total_duration_seconds"])


def test_waiting_is_not_cpu() -> None:
    metrics = metrics_of(run(*PYTHON, "import select; select.select([], [], [], 0.3)"))

    assert metrics["total_duration_seconds"] >= 0.3
    assert metrics["user_cpu_seconds"] + metrics["system_cpu_seconds"] < 0.25
    assert metrics["voluntary_context_switches"] >= 1


# How commands end


def test_a_failing_command() -> None:
    execution = run(*PYTHON, "raise SystemExit(3)")

    assert execution.exit_code == 3
    assert execution.event["status"] == "failed"
    metrics = metrics_of(execution)
    assert metrics["exit_code"] == 3
    assert metrics["result_success"] is False
    assert metrics["memory_usage_mb"] > 0


def test_a_command_that_is_killed() -> None:
    execution = run(*PYTHON, "import os; os.kill(os.getpid(), 9)")

    assert execution.exit_code == 128 + signal.SIGKILL
    assert metrics_of(execution)["exit_code"] == 128 + signal.SIGKILL


def test_a_command_that_is_not_there() -> None:
    execution = run("no-such-command", "argument")

    assert execution.exit_code == 127
    assert execution.problem == "no-such-command: No such file or directory"
    assert execution.event["status"] == "failed"
    metrics = metrics_of(execution)
    assert metrics["result_success"] is False
    assert "memory_usage_mb" not in metrics


def test_a_command_that_is_no_program(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("just text")

    assert (run(str(text)).exit_code, run(str(tmp_path)).exit_code) == (126, 126)
    text.chmod(0o755)
    assert run(str(text)).exit_code == 126


def test_nobody_knows_what_became_of_the_command() -> None:
    execution = run(*PYTHON, "import os; os.kill(os.getppid(), 9)")

    assert execution.exit_code == 128 + signal.SIGKILL
    assert execution.problem == "it was not measured"
    assert metrics_of(execution)["result_success"] is False


# What the command sees


@dataclass
class Measuring:
    """A process that measures a command, with that command's standard input and output."""

    process: subprocess.Popen[str]
    pid: int

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def result(self) -> tuple[dict[str, Any], int]:
        event, exit_code, problem = json.loads(self.line())
        assert self.process.wait() == 0
        assert problem is None
        return event, exit_code


@contextmanager
def measuring(*command: str, around: tuple[str, ...] = ()) -> Iterator[Measuring]:
    with subprocess.Popen(  # noqa: S603 - what the tests here say
        [*around, *MEASURE, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield Measuring(process, int(process.stdout.readline()))
        finally:
            process.kill()


def test_the_standard_streams_are_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    run("sh", "-c", "echo out; echo err >&2")

    assert capfd.readouterr() == ("out\n", "err\n")


def test_standard_input_is_the_commands() -> None:
    with measuring("cat") as child:
        assert child.process.stdin is not None
        child.process.stdin.write("one line\n")
        child.process.stdin.close()
        assert child.line() == "one line"
        assert child.result()[1] == 0


def test_other_descriptors_that_the_shell_has_opened_are_passed_on() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)

    run(*PYTHON, f"import os; os.write({writer}, b'through')")

    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "through"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")
def test_the_command_begins_with_ordinary_signals(capfd: pytest.CaptureFixture[str]) -> None:
    run("grep", "^Sig", "/proc/self/status")

    masks = dict(line.split(":\t") for line in capfd.readouterr().out.splitlines())
    assert int(masks["SigBlk"], 16) == 0
    ignored = int(masks["SigIgn"], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored & 1 << number - 1


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    ask = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"

    with measuring(*PYTHON, ask, around=("sh", "-c", 'trap "" HUP; exec "$@"', "sh")) as child:
        assert child.line() == "True"


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_goes_to_the_command_and_the_event_is_emitted(number: signal.Signals) -> None:
    with measuring(*PYTHON, SAY_AND_WAIT) as child:
        assert child.line() == "ready"
        os.kill(child.pid, number)
        assert child.line() == f"got {number.name}"
        event, exit_code = child.result()

    assert exit_code == event["metrics"]["exit_code"] == 7


def test_sigint_without_a_terminal_goes_to_the_command() -> None:
    with measuring(*PYTHON, SAY_AND_WAIT) as child:
        assert child.line() == "ready"
        os.kill(child.pid, signal.SIGINT)
        assert child.line() == "got SIGINT"
        os.kill(child.pid, signal.SIGTERM)
        assert child.line() == "got SIGTERM"
        assert child.result()[1] == 7


def test_a_command_that_handles_no_signal_ends_by_it() -> None:
    with measuring("sh", "-c", "echo ready; exec cat") as child:
        assert child.line() == "ready"
        os.kill(child.pid, signal.SIGTERM)
        event, exit_code = child.result()

    assert exit_code == 128 + signal.SIGTERM
    assert event["status"] == "failed"


def test_the_whole_group_may_be_told() -> None:
    with measuring("sh", "-c", "echo ready; exec cat") as child:
        assert child.line() == "ready"
        for _ in range(3):
            os.killpg(child.pid, signal.SIGTERM)
        assert child.result()[1] == 128 + signal.SIGTERM


def test_ctrl_c_at_a_terminal_reaches_the_command_once() -> None:
    terminal = (sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])")

    with measuring(*PYTHON, SAY_AND_WAIT, around=terminal) as child:
        assert child.line() == "ready"
        assert child.process.stdin is not None
        child.process.stdin.write("\x03")
        child.process.stdin.flush()
        assert child.line().removeprefix("^C") == "got SIGINT"
        # A second SIGINT would come before this, because the measuring process handles them in this order.
        os.kill(child.pid, signal.SIGTERM)
        assert child.line() == "got SIGTERM"
        assert child.result()[1] == 7


def test_a_signal_that_comes_before_the_command_waits_for_it() -> None:
    forward = SignalForwarder()
    forward(signal.SIGTERM, None)

    with subprocess.Popen([*PYTHON, "input()"], stdin=subprocess.PIPE) as command:  # noqa: S603
        forward.set_target(command.pid)
        assert command.wait() == -signal.SIGTERM

    forward(signal.SIGTERM, None)  # nobody is there any more


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)]

    run("true")
    run("no-such-command")

    assert before == [
        signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    ]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
