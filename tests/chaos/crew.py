"""The workers of a run: started, killed, ended, and never lost sight of."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from deploy.local.demo.flow import end, wait_until_ready
from deploy.local.worker_process import WorkerProcess

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(eq=False)
class Member:
    """One worker of the crew.

    Attributes:
        process: the worker.
        dismissed: whether it was killed or asked to end by us.
        exit_code: after SIGTERM; None when it had to be killed, or nobody has looked yet.
    """

    process: WorkerProcess
    dismissed: bool = False
    exit_code: int | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process.process.running

    def said(self, event: str | None = None) -> list[dict[str, Any]]:
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
class Crew:
    """Starts workers on one stack.

    Attributes:
        directory: where their logs go.
        environment: what leads them to the stack.
        members: all that were ever started.
        peak_bytes: the most memory that any of them was seen to have had.
    """

    directory: Path
    environment: Mapping[str, str]
    members: list[Member] = field(default_factory=list)
    peak_bytes: int = 0

    def launch(self) -> Member:
        """A new worker, which has hardly begun to start."""
        member = self._new({})
        member.process.process.start(lambda _: True)
        return member

    def start(self, changes: Mapping[str, str] | None = None, *, ready: bool = True) -> Member:
        """A new worker that has found its topics, and if `ready` is a member of its group and holds for nothing.

        Args:
            changes: made to the environment.
            ready: whether to wait until /readyz says so.

        Raises:
            ProcessFailedError: it has ended, or was not ready in time.
        """
        member = self._new(changes or {})
        member.process.start()
        if ready:
            wait_until_ready(member.process)
        return member

    def _new(self, changes: Mapping[str, str]) -> Member:
        name = f"worker-{len(self.members):03}"
        member = Member(WorkerProcess(self.directory, {**self.environment, **changes}, name))
        self.members.append(member)
        return member

    @property
    def running(self) -> list[Member]:
        """Those that have not ended."""
        return [member for member in self.members if member.running]

    @property
    def deserters(self) -> list[Member]:
        """Those that have ended although nobody asked them to."""
        return [member for member in self.members if not member.dismissed and not member.running]

    def kill(self, member: Member) -> None:
        """SIGKILL."""
        self.look()
        member.dismissed = True
        member.process.kill()

    def end(self, member: Member) -> float:
        """SIGTERM, and wait for its end; how many seconds that took."""
        self.look()
        member.dismissed = True
        started = time.monotonic()
        member.exit_code = end(member.process)
        took = time.monotonic() - started
        member.process.kill()  # what is left of it, where it did not end in time
        return took

    def disband(self) -> None:
        """SIGKILL for all."""
        for member in self.members:
            member.process.kill()

    def signal(self, member: Member, number: signal.Signals) -> None:
        """Send a signal to the worker itself."""
        os.kill(member.process.pid, number)

    def answered_inserts(self) -> int:
        """How many inserts ClickHouse has accepted or refused, of the workers that run."""
        answered = 0.0
        for member in self.running:
            with suppress(OSError):  # it has just ended, or has not begun to listen
                inserts = member.process.telemetry().get("metrics_worker_inserts_total", {})
                answered += sum(count for labels, count in inserts.items() if {"written", "refused"} & set(labels))
        return int(answered)

    def look(self) -> None:
        """Read off how much memory they have had."""
        for member in self.running:
            if member.process.pid:
                with suppress(OSError, TypeError):  # it has just ended
                    self.peak_bytes = max(self.peak_bytes, member.process.peak_memory_bytes())

    def mistakes(self) -> list[str]:
        """The tracebacks that they have logged; whatever is broken around a worker, it has a word for it."""
        return [
            f"{member.process.process.name}: {line['event']}\n{line['exception']}"
            for member in self.members
            for line in member.said()
            if "exception" in line and line["logger"].startswith("worker.")
        ]

    def held_seconds(self) -> float:
        """How long they have held, by their own logs; a hold that no line ends counts to the last line."""
        return sum(_held(member.said()) for member in self.members)


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
