"""Run a command, measure it, and describe the execution as an event."""

import json
import os
import signal
import subprocess  # nosec B404
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from errno import ENOENT
from pathlib import Path
from time import monotonic, time
from typing import Any
from uuid import uuid4

from worker.commands import usage_reporter
from worker.commands.signals import SignalForwarder, handle_signals
from worker.events.decode import MAX_NAME_LENGTH, SCHEMA_MAJOR

NOT_FOUND = 127
NOT_EXECUTABLE = 126
BY_SIGNAL = 128
"""Exit codes as shells give them: the last one plus the number of the signal that ended the command."""


@dataclass(frozen=True)
class Execution:
    """What became of a command.

    Attributes:
        event: the *execution completed* event, by `schemas/event.schema.json`.
        exit_code: to be passed on, as shells do.
        problem: why the command could not be started, in words; None when it was.
    """

    event: dict[str, object]
    exit_code: int
    problem: str | None = None


@dataclass(frozen=True)
class _Run:
    """Times in seconds, `started_at` since 1970; `used` is empty where nothing was measured."""

    started_at: float
    seconds: float
    exit_code: int
    used: Mapping[str, float] = field(default_factory=dict)
    problem: str | None = None


def measure(command: Sequence[str], agent_name: str, user_id: str | None = None) -> Execution:
    """Run `command` to its end, with the standard streams of this process, and measure it.

    SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the command instead of this process, except those from a terminal, which
    the command has had already. A command that cannot be started is a failed execution too.

    Only the main thread may call it, because it handles signals.

    Args:
        command: the program, looked up in PATH, and its arguments.
        agent_name: of the event; what cannot be written as UTF-8 is replaced, and the rest cut to 256 characters.
        user_id: of the event.

    Raises:
        ValueError: there is no command, or the name is empty.
    """
    if not command or not agent_name:
        raise ValueError("a command and the name of its agent are needed")
    run = _run(command)
    event: dict[str, object] = {
        "schema_version": SCHEMA_MAJOR,
        "execution_id": str(uuid4()),
        "agent_name": _encodable(agent_name)[:MAX_NAME_LENGTH],
        "user_id": None if user_id is None else _encodable(user_id),
        "status": "failed" if run.exit_code else "succeeded",
        "started_at": _rfc3339(run.started_at),
        "completed_at": _rfc3339(run.started_at + run.seconds),
        "metrics": _metrics(run),
    }
    return Execution(event, run.exit_code, run.problem)


def _metrics(run: _Run) -> dict[str, float]:
    """What was measured, under the names that agents use in events of their own.

    CPU, faults and switches are of the command and those of its descendants that it has waited for. Memory is the peak
    of the largest one of them, in MiB, and never less than the launcher's 10.
    """
    metrics: dict[str, float] = {
        "execution_time_ms": run.seconds * 1000,
        "start_timestamp": run.started_at,
        "end_timestamp": run.started_at + run.seconds,
        "total_duration_seconds": run.seconds,
        "exit_code": run.exit_code,
        "result_success": run.exit_code == 0,
    }
    if used := run.used:
        cpu_seconds = used["user_seconds"] + used["system_seconds"]
        metrics |= {
            "memory_usage_mb": used["peak_bytes"] / 2**20,
            "cpu_percent": 100 * cpu_seconds / run.seconds if run.seconds else 0.0,
            "user_cpu_seconds": used["user_seconds"],
            "system_cpu_seconds": used["system_seconds"],
            "major_page_faults": used["major_page_faults"],
            "voluntary_context_switches": used["voluntary_context_switches"],
            "involuntary_context_switches": used["involuntary_context_switches"],
        }
    return metrics


def _run(command: Sequence[str]) -> _Run:
    started_at, started = time(), monotonic()
    forward = SignalForwarder()
    with handle_signals(forward):
        process, report_fd = _launch(command)
        with os.fdopen(report_fd, encoding="utf-8") as report:
            start: dict[str, int] = json.loads(report.readline() or "{}")
            if "pid" in start:
                forward.to(start["pid"])
            used: dict[str, Any] = json.loads(report.readline() or "{}")
        launcher_code = process.wait()
    if used:
        return _Run(used.pop("started_at"), used.pop("seconds"), _as_shells_do(used.pop("exit_code")), used)
    if "errno" in start:
        exit_code = NOT_FOUND if start["errno"] == ENOENT else NOT_EXECUTABLE
        return _Run(started_at, 0.0, exit_code, problem=f"{command[0]}: {os.strerror(start['errno'])}")
    # Somebody has killed the launcher: how the command ended, or whether it did, cannot be known.
    return _Run(started_at, monotonic() - started, _as_shells_do(launcher_code) or 1, problem="it was not measured")


def _launch(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the launcher; it writes to the descriptor that is returned, which is then the caller's to close."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    # -I -S: nothing that the environment or the installation adds to Python, so that it stays small and quick.
    arguments = [sys.executable, "-I", "-S", str(Path(usage_reporter.__file__)), str(writer), *command]
    # Blocked until the launcher has its handlers: a signal to the whole group must not end it before the command.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, usage_reporter.FORWARDED)
    try:
        # close_fds=False: what the shell has opened for the command, the command gets.
        # Running a command, without a shell, is the job.
        return subprocess.Popen(arguments, close_fds=False), reader  # noqa: S603 # nosec B603
    except BaseException:
        os.close(reader)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writer)


def _as_shells_do(code: int) -> int:
    return BY_SIGNAL - code if code < 0 else code


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
