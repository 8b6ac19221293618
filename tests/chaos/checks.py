"""What several scenarios claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.environment import Environment
    from tests.chaos.workers import Worker

_PROBE_SECONDS = 15.0
"""Longest wait between two probes of a store that is away: `worker.core.retry.UNTIL_DONE`."""
_GRACE_SECONDS = 5.0
"""On a busy machine: to connect, and for the first insert after the probe."""


def check_resumes(env: Environment, worker: Worker) -> None:
    """Mended: the worker must find out by itself, within the longest wait between two probes."""
    seconds = env.wait_until(lambda: not worker.process.readiness(), "the worker is ready again", timeout_seconds=60.0)
    env.figures["resumed after s"] = round(seconds, 1)
    limit = _PROBE_SECONDS + _GRACE_SECONDS
    env.check(seconds <= limit, f"it resumed only {seconds:.1f} s after all was mended; {limit:g} are allowed")


def check_no_rebalance(env: Environment, worker: Worker) -> None:
    """Through all of it the group has seen a member that polls and commits."""
    lost = worker.process.telemetry()["metrics_worker_rebalances_total"][()]
    env.check(lost == 0, f"the group took the partitions away {lost:g} times")
