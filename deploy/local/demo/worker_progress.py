"""Follow a worker: wait until it is ready, until everything is settled, and until it has ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from deploy.local.process import LOOPBACK, ProcessFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.demo.expectations import Expectations
    from deploy.local.worker_process import WorkerProcess

STALLED_SECONDS = 20.0
"""After so long without progress, what is missing counts as lost."""
_READY_SECONDS = 30.0
_END_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class WorkerProgress:
    """The end of `wait_until_settled`.

    Attributes:
        seconds: from its readiness to the last progress.
        stalled: whether something was missing when progress ended.
        metrics, records: number of settled metrics, and of settled records that are no events.
        skipped, skipped_labels: number of skipped metrics by JSON type, and of skipped labels by reason, as the worker
            counts them.
    """

    seconds: float = 0.0
    stalled: bool = False
    metrics: int = 0
    records: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    skipped_labels: dict[str, int] = field(default_factory=dict)


def wait_until_ready(worker: WorkerProcess) -> None:
    """Wait until /readyz answers 200: the worker is a member of its group and does not hold.

    Raises:
        ProcessFailedError: it has ended, or is not ready in time.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while not _is_ready(worker):
        if not worker.process.running or time.monotonic() > deadline:
            raise ProcessFailedError(f"the worker did not become ready\n{worker.process.tail()}")
        time.sleep(_POLL_SECONDS)


def _is_ready(worker: WorkerProcess) -> bool:
    try:
        with urlopen(f"http://{LOOPBACK}:{worker.http_port}/readyz", timeout=_READY_SECONDS):
            return True
    except HTTPError as answer:
        answer.close()  # 503, with the reasons
        return False
    except OSError:
        return False  # it has ended; the caller checks that


def wait_until_settled(
    worker: WorkerProcess,
    expectations: Expectations,
    on_progress: Callable[[int], None],
    stalled_seconds: float = STALLED_SECONDS,
) -> WorkerProgress:
    """Wait until a worker that has just become ready has settled everything, or makes no progress any more.

    Args:
        worker: its telemetry says when all is settled; the rows and dead letters themselves are verified later.
        expectations: what must be settled.
        on_progress: called with the number of settled metrics.
        stalled_seconds: after so long without progress, what is missing counts as lost.
    """
    started = moved = time.monotonic()
    settled = WorkerProgress()
    while settled.metrics < expectations.metrics or settled.records < expectations.whole_records:
        now = _read_settled(worker)
        if now is None or time.monotonic() - moved > stalled_seconds:
            return replace(settled, seconds=moved - started, stalled=True)
        if now != settled:
            settled, moved = now, time.monotonic()
            on_progress(settled.metrics)
        time.sleep(_POLL_SECONDS)
    return replace(settled, seconds=moved - started)


def _read_settled(worker: WorkerProcess) -> WorkerProgress | None:
    """The worker's own counts; None when it does not answer any more."""
    try:
        telemetry = worker.telemetry()
    except OSError:
        return None
    letters = telemetry.get("metrics_worker_dead_letters_total", {})
    skipped, skipped_labels = (
        {kind: int(count) for (kind,), count in telemetry.get(f"metrics_worker_{what}_skipped_total", {}).items()}
        for what in ("metrics", "labels")
    )
    rows = telemetry["metrics_worker_rows_written_total"][()]
    metric_letters = sum(count for labels, count in letters.items() if "metric" in labels)
    return WorkerProgress(
        metrics=int(rows + metric_letters) + sum(skipped.values()),
        records=int(sum(letters.values()) - metric_letters + telemetry["metrics_worker_tombstones_total"][()]),
        skipped=skipped,
        skipped_labels=skipped_labels,
    )


def terminate(worker: WorkerProcess) -> int | None:
    """SIGTERM; return the exit code, or None when it did not end within 30 s. It may have ended before."""
    with suppress(ProcessLookupError):  # ended already
        os.kill(worker.pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        # WNOWAIT: the exit status stays there for the `Popen` of `worker`.
        ended = os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is not None:
            return ended.si_status
        time.sleep(_POLL_SECONDS)
    return None
