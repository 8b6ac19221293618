"""Follow the worker: its counters, and the errors in its log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.worker_process import WorkerProcess

STALLED_SECONDS = 90.0
"""After so long without progress the run fails."""
_POLL_SECONDS = 0.1
_ERRORS = ("Traceback (most recent call last)", "failed unexpectedly", "never retrieved")


class WorkerStoppedError(Exception):
    """The worker has ended, or makes no progress; the text says which."""


@dataclass(frozen=True)
class WorkerCounts:
    """The worker's own counters; `records` are settled ones."""

    records: int = 0
    rows: int = 0
    letters: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    commit_failures: int = 0
    rebalances: int = 0


def read_counts(worker: WorkerProcess) -> WorkerCounts:
    """Read the worker's telemetry. Raises WorkerStoppedError when it has ended."""
    try:
        telemetry = worker.telemetry()
    except OSError as error:
        raise WorkerStoppedError(f"the worker does not answer: {error}") from error
    letters = telemetry.get("metrics_worker_dead_letters_total", {})
    events = sum(count for labels, count in letters.items() if "event" in labels)
    tombstones = telemetry["metrics_worker_tombstones_total"][()]
    skipped = telemetry.get("metrics_worker_metrics_skipped_total", {})
    return WorkerCounts(
        records=int(telemetry["metrics_worker_events_total"][()] + tombstones + events),
        rows=int(telemetry["metrics_worker_rows_written_total"][()]),
        letters=int(sum(letters.values())),
        skipped={json_type: int(count) for (json_type,), count in skipped.items()},
        commit_failures=int(telemetry["metrics_worker_commit_failures_total"][()]),
        rebalances=int(telemetry["metrics_worker_rebalances_total"][()]),
    )


def wait_until_settled(worker: WorkerProcess, records: int, on_progress: Callable[[int], None]) -> WorkerCounts:
    """Wait until the worker has settled `records` records.

    Raises:
        WorkerStoppedError: it has ended, or makes no progress any more.
    """
    before, moved = WorkerCounts(), time.monotonic()
    while (now := read_counts(worker)).records < records:
        on_progress(now.records)
        if now != before:
            before, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALLED_SECONDS:
            raise WorkerStoppedError(
                f"no progress for {STALLED_SECONDS:g} s at {now.records} of {records} records; readiness: "
                f"{worker.readiness()}"
            )
        time.sleep(_POLL_SECONDS)
    on_progress(now.records)
    return now


def find_log_errors(worker: WorkerProcess) -> list[str]:
    """The lines of the log that show a programming error."""
    return [line[:500] for line in worker.process.output().splitlines() if any(text in line for text in _ERRORS)]
