"""The worker processes of a run: start, kill and terminate them, and read their logs and telemetry."""

import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.local.demo.worker_progress import terminate, wait_until_ready
from deploy.local.worker_process import WorkerProcess


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
        lines: list[dict[str, Any]] = []
        for text in self.process.output().splitlines():
            with suppress(json.JSONDecodeError):  # a killed worker may leave half a line
                lines.append(json.loads(text))
        return [line for line in lines if "event" in line and event in (None, line["event"])]

    def count_inserts(self, outcome: str) -> float:
        """How many inserts had this outcome."""
        inserts = self.telemetry()["metrics_worker_inserts_total"]
        return sum(count for labels, count in inserts.items() if outcome in labels)

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
        """Start a worker with `changes` to its environment.

        Return when it is a member of its group and does not hold, or without `ready` when it has found its topics.

        Raises:
            ProcessFailedError: it has ended, or was not ready in time.
        """
        worker = self.create(changes or {})
        worker.start()
        if ready:
            wait_until_ready(worker)
        return worker

    def create(self, changes: Mapping[str, str]) -> Worker:
        """A worker that is not started yet."""
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
    held = at = 0.0
    since = None
    for line in lines:
        at = datetime.fromisoformat(line["timestamp"]).timestamp()
        if line["event"] == "holding" and since is None:
            since = at
        elif line["event"] == "holding ended" and since is not None and not line["still_holding"]:
            held, since = held + at - since, None
    return held if since is None else held + at - since
