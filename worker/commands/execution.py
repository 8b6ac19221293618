"""Runs a command, measures it, and describes the execution as an event."""

import json
import os
import signal
import subprocess  # nosec B404
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from errno import ENOENT
from pathlib import Path
from time import monotonic, time
from typing import Any
from uuid import uuid4

from worker.commands import usage_reporter
from worker.commands.exec_signals import SignalForwarder, handle_signals
from worker.core.times import format_rfc3339
from worker.events.decode import MAX_NAME_LENGTH, SCHEMA_MAJOR

# Exit codes of a shell. For a signal: this base plus its number.
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_SIGNAL_BASE = 128


@dataclass(frozen=True)
class Execution:
    """The event of a command (`schemas/event.schema.json`), a shell's exit code, and why there was no measurement."""

    event: dict[str, object]
    exit_code: int
    problem: str | None = None


@dataclass(frozen=True)
class _Measurement:
    """Times in seconds, `started_at` since 1970; `usage` is empty where nothing was measured."""

    started_at: float
    seconds: float
    exit_code: int
    usage: Mapping[str, float] = field(default_factory=dict)
    problem: str | None = None


def measure(command: Sequence[str], agent_name: str, user_id: str | None = None) -> Execution:
    """Run `command` to its end, with the standard streams of this process, and measure it.

    SIGINT, SIGTERM, SIGHUP and SIGQUIT are forwarded to the command, except those from a terminal, which sends them to
    the command itself. A command that cannot be started is a failed execution.

    What UTF-8 cannot encode is replaced in the names, and that of the agent is cut to 256 characters. Only the main
    thread may call it, because it handles signals. Raises ValueError if the command or the name of its agent is empty.
    """
    if not command or not agent_name:
        raise ValueError("a command and the name of its agent are needed")
    measurement = _run(command)
    event: dict[str, object] = {
        "schema_version": SCHEMA_MAJOR,
        "execution_id": str(uuid4()),
        "agent_name": _replace_unencodable(agent_name)[:MAX_NAME_LENGTH],
        "user_id": None if user_id is None else _replace_unencodable(user_id),
        "status": "failed" if measurement.exit_code else "succeeded",
        "started_at": format_rfc3339(int(measurement.started_at * 1000)),
        "completed_at": format_rfc3339(int((measurement.started_at + measurement.seconds) * 1000)),
        "metrics": _metrics_of(measurement),
    }
    return Execution(event, measurement.exit_code, measurement.problem)


def _metrics_of(measurement: _Measurement) -> dict[str, float]:
    """The metrics, under the names that agents use in their own events.

    CPU, faults and switches include descendants that the command has waited for. Memory is the peak of the largest of
    these processes, in MiB, and at least the 10 of the usage reporter.
    """
    seconds = measurement.seconds
    metrics: dict[str, float] = {
        "execution_time_ms": seconds * 1000,
        "start_timestamp": measurement.started_at,
        "end_timestamp": measurement.started_at + seconds,
        "total_duration_seconds": seconds,
        "exit_code": measurement.exit_code,
        "result_success": measurement.exit_code == 0,
    }
    if usage := measurement.usage:
        cpu_seconds = usage["user_seconds"] + usage["system_seconds"]
        metrics |= {
            "memory_usage_mb": usage["peak_bytes"] / 2**20,
            "cpu_percent": 100 * cpu_seconds / seconds if seconds else 0.0,
            "user_cpu_seconds": usage["user_seconds"],
            "system_cpu_seconds": usage["system_seconds"],
        }
        for name in ("major_page_faults", "voluntary_context_switches", "involuntary_context_switches"):
            metrics[name] = usage[name]
    return metrics


def _run(command: Sequence[str]) -> _Measurement:
    started_at, started = time(), monotonic()
    forwarder = SignalForwarder()
    with handle_signals(forwarder):
        reporter, report_fd = _start_reporter(command)
        with os.fdopen(report_fd, encoding="utf-8") as report:
            start: dict[str, int] = json.loads(report.readline() or "{}")
            if "pid" in start:
                forwarder.set_target(start["pid"])
            usage: dict[str, Any] = json.loads(report.readline() or "{}")
        reporter_code = reporter.wait()
    if usage:
        exit_code = _shell_exit_code(usage.pop("exit_code"))
        return _Measurement(usage.pop("started_at"), usage.pop("seconds"), exit_code, usage)
    if "errno" in start:
        exit_code = _NOT_FOUND if start["errno"] == ENOENT else _NOT_EXECUTABLE
        return _Measurement(started_at, 0.0, exit_code, problem=f"{command[0]}: {os.strerror(start['errno'])}")
    # The usage reporter was killed: the result of the command is unknown.
    exit_code = _shell_exit_code(reporter_code) or 1
    return _Measurement(
        started_at,
        monotonic() - started,
        exit_code,
        problem="the usage reporter was killed; the command was not measured",
    )


def _start_reporter(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the usage reporter. Returns the process, and the descriptor of its report, which the caller must close."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    # -I -S: neither the environment nor the installation adds to Python, so that it stays small and quick.
    arguments = [sys.executable, "-I", "-S", str(Path(usage_reporter.__file__)), str(writer), *command]
    # Blocked until the reporter has its handlers: a signal to the group must not end it before the command.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, usage_reporter.FORWARDED_SIGNALS)
    try:
        # close_fds=False: the command inherits the descriptors that the shell has opened for it.
        # Running a command, without a shell, is the job.
        return subprocess.Popen(arguments, close_fds=False), reader  # noqa: S603 # nosec B603
    except BaseException:
        os.close(reader)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writer)


def _shell_exit_code(code: int) -> int:
    return _SIGNAL_BASE - code if code < 0 else code


def _replace_unencodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
