"""The worker under fire: how far it is, and whether it is still the one that was started."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.local import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.worker_process import WorkerProcess

STALLED_SECONDS = 90.0
"""Without any progress for so long, it counts as standing still."""
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1
_NOISE = ("Traceback (most recent call last)", "failed unexpectedly", "never retrieved")


class WorkerStoppedError(Exception):
    """The worker has ended, or stands still; the text says which."""


@dataclass(frozen=True)
class WorkerCounts:
    """What the worker says of itself."""

    records: int = 0
    rows: int = 0
    letters: int = 0
    tombstones: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    commit_failures: int = 0
    rebalances: int = 0


def start_time(pid: int) -> str:
    """When the process `pid` was started, in the kernel's ticks: with the number it names a process for good."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def read_counts(worker: WorkerProcess) -> WorkerCounts:
    """Ask the worker. Raises WorkerStoppedError when it has ended."""
    try:
        telemetry = worker.telemetry()
    except OSError as error:
        raise WorkerStoppedError(f"it does not answer: {error}") from error
    letters = telemetry.get("metrics_worker_dead_letters_total", {})
    events = sum(count for labels, count in letters.items() if "event" in labels)
    tombstones = telemetry["metrics_worker_tombstones_total"][()]
    skipped = telemetry.get("metrics_worker_metrics_skipped_total", {})
    return WorkerCounts(
        records=int(telemetry["metrics_worker_events_total"][()] + tombstones + events),
        rows=int(telemetry["metrics_worker_rows_written_total"][()]),
        letters=int(sum(letters.values())),
        tombstones=int(tombstones),
        skipped={json_type: int(count) for (json_type,), count in skipped.items()},
        commit_failures=int(telemetry["metrics_worker_commit_failures_total"][()]),
        rebalances=int(telemetry["metrics_worker_rebalances_total"][()]),
    )


def wait_until_ready(worker: WorkerProcess) -> None:
    """Wait until nothing keeps the worker from its work. Raises TimeoutError."""
    wait_until(lambda: worker.readiness() == {}, "the worker is ready", _READY_SECONDS)


def follow(worker: WorkerProcess, records: int, on_progress: Callable[[int], None]) -> WorkerCounts:
    """Wait until `records` records have come to their ends.

    Raises:
        WorkerStoppedError: it has ended, or nothing moves any more.
    """
    before, moved = WorkerCounts(), time.monotonic()
    while True:
        now = read_counts(worker)
        on_progress(now.records)
        if now.records >= records:
            return now
        if now != before:
            before, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALLED_SECONDS:
            raise WorkerStoppedError(
                f"no progress for {STALLED_SECONDS:g} s at {now.records} of {records} records; readiness: "
                f"{worker.readiness()}"
            )
        time.sleep(_POLL_SECONDS)


def find_log_errors(worker: WorkerProcess) -> list[str]:
    """Lines of the log that speak of a mistake of ours."""
    return [line[:500] for line in worker.process.output().splitlines() if any(text in line for text in _NOISE)]
