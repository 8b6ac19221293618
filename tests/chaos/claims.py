"""What several scenarios claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.crew import Member
    from tests.chaos.field import Field

_PROBE_SECONDS = 15.0
"""Longest wait between two probes of a store that is away: `worker.core.retry.FOREVER`."""
_GRACE_SECONDS = 5.0
"""On a busy machine: to connect, and for the first insert after the probe."""


def resumes(field: Field, member: Member) -> None:
    """Mended: the worker must find out by itself, within the longest wait between two probes."""
    seconds = field.wait(lambda: not member.process.readiness(), "the worker is ready again", timeout_seconds=60.0)
    field.notes["resumed after s"] = round(seconds, 1)
    limit = _PROBE_SECONDS + _GRACE_SECONDS
    field.check(seconds <= limit, f"it resumed only {seconds:.1f} s after all was mended; {limit:g} are allowed")


def keeps_membership(field: Field, member: Member) -> None:
    """Through all of it the group has seen a member that polls and commits."""
    lost = member.process.telemetry()["metrics_worker_rebalances_total"][()]
    field.check(lost == 0, f"the group took the partitions away {lost:g} times")
