"""The workers of a run: started, killed, ended, and never lost sight of."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from deploy.local.demo.worker_progress import end, wait_until_ready
from deploy.local.worker_process import WorkerProcess

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(eq=False)
class Worker:
    """One worker of the crew.

    Attributes:
        process: the worker.
        end_expected: whether it was killed or asked to end by us.
        exit_code: after SIGTERM; None when it had to be killed, or nobody has looked yet.
    """

    process: WorkerProcess
    end_expected: bool = False
    exit_code: int | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process.process.running

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """What it has logged, or only the lines with this event."""
        lines = _parsed(self.process.process.output())
        return [line for line in lines if event is None or line["event"] == event]


def _parsed(log: str) -> Iterator[dict[str, Any]]:
    for text in log.splitlines():
        with suppress(json.JSONDecodeError):  # the last line of a worker that was killed
            line = json.loads(text)
            if isinstance(line, dict) and "event" in line:
                yield line


@dataclass
class Workers:
    """Starts workers on one stack.

    Attributes:
        directory: where their logs go.
        environment: what leads them to the stack.
        members: all that were ever started.
        peak_bytes: the most memory that any of them was seen to have had.
    """

    directory: Path
    environment: Mapping[str, str]
    started: list[Worker] = field(default_factory=list)
    peak_bytes: int = 0

    def start_without_waiting(self) -> Worker:
        """A new worker, which has hardly begun to start."""
        worker = self._new({})
        worker.process.process.start(lambda _: True)
        return worker

    def start(self, changes: Mapping[str, str] | None = None, *, ready: bool = True) -> Worker:
        """A new worker that has found its topics, and if `ready` is a member of its group and holds for nothing.

        Args:
            changes: made to the environment.
            ready: whether to wait until /readyz says so.

        Raises:
            ProcessFailedError: it has ended, or was not ready in time.
        """
        worker = self._new(changes or {})
        worker.process.start()
        if ready:
            wait_until_ready(worker.process)
        return worker

    def _new(self, changes: Mapping[str, str]) -> Worker:
        name = f"worker-{len(self.started):03}"
        worker = Worker(WorkerProcess(self.directory, {**self.environment, **changes}, name))
        self.started.append(worker)
        return worker

    @property
    def running(self) -> list[Worker]:
        """Those that have not ended."""
        return [worker for worker in self.started if worker.running]

    @property
    def crashed(self) -> list[Worker]:
        """Those that have ended although nobody asked them to."""
        return [worker for worker in self.started if not worker.end_expected and not worker.running]

    def kill(self, worker: Worker) -> None:
        """SIGKILL."""
        self.record_memory()
        worker.end_expected = True
        worker.process.kill()

    def terminate(self, worker: Worker) -> float:
        """SIGTERM, and wait for its end; how many seconds that took."""
        self.record_memory()
        worker.end_expected = True
        started = time.monotonic()
        worker.exit_code = end(worker.process)
        took = time.monotonic() - started
        worker.process.kill()  # what is left of it, where it did not end in time
        return took

    def kill_all(self) -> None:
        """SIGKILL for all."""
        for worker in self.started:
            worker.process.kill()

    def signal(self, worker: Worker, number: signal.Signals) -> None:
        """Send a signal to the worker itself."""
        os.kill(worker.process.pid, number)

    def count_answered_inserts(self) -> int:
        """How many inserts ClickHouse has accepted or refused, of the workers that run."""
        answered = 0.0
        for worker in self.running:
            with suppress(OSError):  # it has just ended, or has not begun to listen
                inserts = worker.process.telemetry().get("metrics_worker_inserts_total", {})
                answered += sum(count for labels, count in inserts.items() if {"written", "refused"} & set(labels))
        return int(answered)

    def record_memory(self) -> None:
        """Read off how much memory they have had."""
        for worker in self.running:
            if worker.process.pid:
                with suppress(OSError, TypeError):  # it has just ended
                    self.peak_bytes = max(self.peak_bytes, worker.process.peak_memory_bytes())

    def logged_tracebacks(self) -> list[str]:
        """The tracebacks that they have logged; whatever is broken around a worker, it has a word for it."""
        return [
            f"{worker.process.process.name}: {line['event']}\n{line['exception']}"
            for worker in self.started
            for line in worker.log_lines()
            if "exception" in line and line["logger"].startswith("worker.")
        ]

    def held_seconds(self) -> float:
        """How long they have held, by their own logs; a hold that no line ends counts to the last line."""
        return sum(_held(worker.log_lines()) for worker in self.started)


def _held(lines: list[dict[str, Any]]) -> float:
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
