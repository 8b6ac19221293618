"""The worker at work: when it is ready, how far it is, and how it ends."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from deploy.local.process import LOOPBACK, ProcessFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.demo.expectations import Expectations
    from deploy.local.worker_process import WorkerProcess

STALLED_SECONDS = 20.0
"""Without progress for so long, what is missing counts as lost."""
_READY_SECONDS = 30.0
_END_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class WorkerProgress:
    """How the worker did.

    Attributes:
        seconds: from its readiness to the last progress.
        stalled: whether something was still missing when progress ended.
        skipped: metrics that it has skipped, by JSON type, as only it can know.
    """

    seconds: float
    stalled: bool
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Settled:
    metrics: int = 0
    records: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


def wait_until_ready(worker: WorkerProcess) -> None:
    """Wait until /readyz answers 200: the worker is a member of its group, and nothing holds it.

    Raises:
        ProcessFailedError: it has ended, or is not ready in time.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while not _ready(worker):
        if not worker.process.running or time.monotonic() > deadline:
            raise ProcessFailedError(f"the worker did not become ready\n{worker.process.tail()}")
        time.sleep(_POLL_SECONDS)


def _ready(worker: WorkerProcess) -> bool:
    try:
        with urlopen(f"http://{LOOPBACK}:{worker.http_port}/readyz", timeout=_READY_SECONDS):
            return True
    except HTTPError as answer:
        answer.close()  # 503, with the reasons
        return False
    except OSError:
        return False  # it has ended; the caller looks


def follow(worker: WorkerProcess, ledger: Expectations, on_progress: Callable[[int], None]) -> WorkerProgress:
    """Watch a worker that has just become ready until everything that is owed is settled, or nothing moves any more.

    Args:
        worker: asked for its telemetry, which tells when to look; what has become of everything is read elsewhere.
        ledger: what is owed.
        on_progress: called with the number of settled metrics.
    """
    whole_records = len(ledger.letters) - ledger.failed_metrics + ledger.tombstones
    started = moved = time.monotonic()
    settled = _Settled()
    while settled.metrics < ledger.metrics or settled.records < whole_records:
        now = _settled(worker)
        if now is None or time.monotonic() - moved > STALLED_SECONDS:
            return WorkerProgress(moved - started, stalled=True, skipped=settled.skipped)
        if now != settled:
            settled, moved = now, time.monotonic()
            on_progress(settled.metrics)
        time.sleep(_POLL_SECONDS)
    return WorkerProgress(moved - started, stalled=False, skipped=settled.skipped)


def _settled(worker: WorkerProcess) -> _Settled | None:
    """What the worker counts; None when it does not answer any more."""
    try:
        telemetry = worker.telemetry()
    except OSError:
        return None
    letters = telemetry.get("metrics_worker_dead_letters_total", {})
    skipped = {
        json_type: int(count)
        for (json_type,), count in telemetry.get("metrics_worker_metrics_skipped_total", {}).items()
    }
    rows = telemetry["metrics_worker_rows_written_total"][()]
    metric_letters = sum(count for labels, count in letters.items() if "metric" in labels)
    return _Settled(
        int(rows + metric_letters) + sum(skipped.values()),
        int(sum(letters.values()) - metric_letters + telemetry["metrics_worker_tombstones_total"][()]),
        skipped,
    )


def end(worker: WorkerProcess) -> int | None:
    """SIGTERM; the exit code, or None when it did not end in time and has yet to be killed.

    One that has ended by itself gives its code too.
    """
    with suppress(ProcessLookupError):  # ended already
        os.kill(worker.pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        # Looked at and left in place: the process belongs to `worker`, which is told when it asks for it.
        ended = os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is not None:
            return ended.si_status
        time.sleep(_POLL_SECONDS)
    return None
