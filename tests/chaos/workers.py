"""The worker processes of a run: start, kill and terminate them, and read their logs and telemetry."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from deploy.local.demo.worker_progress import terminate, wait_until_ready
from deploy.local.worker_process import WorkerProcess

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Worker(WorkerProcess):
    """A worker process.

    Attributes:
        end_expected: whether the run has killed it or asked it to end.
        exit_code: after SIGTERM; None before, or when it had to be killed.
        peak_bytes: VmHWM, as read before the last signal.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str], name: str) -> None:
        super().__init__(directory, environment, name)
        self.end_expected = False
        self.exit_code: int | None = None
        self.peak_bytes = 0

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self.process.running

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The lines of its log, or only those of one event."""
        lines = _parse_log(self.process.output())
        return [line for line in lines if event is None or line["event"] == event]

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker itself, not to its process group."""
        self._record_memory()
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self._record_memory()
        self.end_expected = True
        super().kill()

    def terminate(self) -> float:
        """SIGTERM, and wait for its end, at most 30 s. Returns the seconds that it took."""
        self._record_memory()
        self.end_expected = True
        started = time.monotonic()
        self.exit_code = terminate(self)
        took = time.monotonic() - started
        super().kill()  # where it did not end in time
        return took

    def _record_memory(self) -> None:
        if self.running and self.pid:
            with suppress(OSError, TypeError):  # it has just ended
                self.peak_bytes = self.peak_memory_bytes()


def _parse_log(log: str) -> Iterator[dict[str, Any]]:
    for text in log.splitlines():
        with suppress(json.JSONDecodeError):  # a killed worker may leave half a line
            line = json.loads(text)
            if isinstance(line, dict) and "event" in line:
                yield line


@dataclass
class Workers:
    """All workers of a run.

    Attributes:
        directory: of their logs.
        environment: the variables that lead them to the stack.
        started: every worker that was ever started.
    """

    directory: Path
    environment: Mapping[str, str]
    started: list[Worker] = field(default_factory=list)

    def start(self, changes: Mapping[str, str] | None = None, *, ready: bool = True) -> Worker:
        """Start a worker, and wait until it has found its topics, or with `ready` until /readyz answers 200.

        Args:
            changes: made to the environment.
            ready: whether to wait until it is a member of its group and does not hold.

        Raises:
            ProcessFailedError: it has ended, or was not ready in time.
        """
        worker = self._create(changes or {})
        worker.start()
        if ready:
            wait_until_ready(worker)
        return worker

    def start_without_waiting(self) -> Worker:
        """Start a worker; return while it is still importing its modules."""
        worker = self._create({})
        worker.process.start(lambda _: True)
        return worker

    def _create(self, changes: Mapping[str, str]) -> Worker:
        worker = Worker(self.directory, {**self.environment, **changes}, f"worker-{len(self.started):03}")
        self.started.append(worker)
        return worker

    @property
    def running(self) -> list[Worker]:
        """The workers that have not ended."""
        return [worker for worker in self.started if worker.running]

    @property
    def crashed(self) -> list[Worker]:
        """The workers that have ended without being asked to."""
        return [worker for worker in self.started if not worker.end_expected and not worker.running]

    @property
    def peak_bytes(self) -> int:
        """The highest peak memory of any worker that has been sent a signal."""
        return max((worker.peak_bytes for worker in self.started), default=0)

    def kill_all(self) -> None:
        """SIGKILL for every worker."""
        for worker in self.started:
            worker.process.kill()

    def count_answered_inserts(self) -> int:
        """How many inserts of the running workers ClickHouse has accepted or refused."""
        answered = 0.0
        for worker in self.running:
            with suppress(OSError):  # it has just ended, or does not listen yet
                inserts = worker.telemetry().get("metrics_worker_inserts_total", {})
                answered += sum(count for labels, count in inserts.items() if {"written", "refused"} & set(labels))
        return int(answered)

    def logged_tracebacks(self) -> list[str]:
        """The tracebacks that the workers have logged. A fault around a worker is no reason for one."""
        return [
            f"{worker.process.name}: {line['event']}\n{line['exception']}"
            for worker in self.started
            for line in worker.log_lines()
            if "exception" in line and line["logger"].startswith("worker.")
        ]

    def held_seconds(self) -> float:
        """How long the workers held, by their logs; a hold without an end counts up to the last line."""
        return sum(_held_seconds(worker.log_lines()) for worker in self.started)


def _held_seconds(lines: list[dict[str, Any]]) -> float:
    causes: set[str] = set()
    held, since = 0.0, 0.0
    for line in lines:
        at = datetime.fromisoformat(line["timestamp"]).timestamp()
        before = bool(causes)
        if line["event"] == "holding":
            causes.add(line["cause"])
        elif line["event"] == "holding ended":
            causes.discard(line["cause"])
        if causes and not before:
            since = at
        elif before and not causes:
            held += at - since
    return held + (at - since if causes else 0.0)
