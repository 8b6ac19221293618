"""The arithmetic of Kubernetes' HorizontalPodAutoscaler for external metrics with an average value, as KEDA uses it.

Sources: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ (*Algorithm details*, *Configurable
scaling behavior*), and the controller itself, `pkg/controller/podautoscaler` of kubernetes/kubernetes. The functions of
`replica_calculator.go` and `horizontal.go` are named where their rule is.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

SYNC_SECONDS = 15
"""`--horizontal-pod-autoscaler-sync-period`; KEDA asks its sources each time, unless it may use cached metrics."""
TOLERANCE = 0.1
"""`--horizontal-pod-autoscaler-tolerance`"""


class Metric(NamedTuple):
    """The current value of an external metric, None if it could not be read, and the target for each replica."""

    value: float | None
    target: float


class Policy(NamedTuple):
    """How much one direction may change within a period."""

    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: int


class Direction(NamedTuple):
    """`behavior.scaleUp` or `behavior.scaleDown`; of several policies the one that allows most is used."""

    window_seconds: int
    policies: tuple[Policy, ...]


class Limits(NamedTuple):
    """The numbers of a HorizontalPodAutoscaler."""

    min_replicas: int
    max_replicas: int
    scale_up: Direction
    scale_down: Direction


def replicas_for(metric: Metric, current: int) -> int | None:
    """What one metric proposes; None if it could not be read. `GetExternalPerPodMetricReplicas`."""
    if metric.value is None:
        return None
    if abs(1 - metric.value / (metric.target * current)) <= TOLERANCE:
        return current
    return ceil(round(metric.value * 1000) / (metric.target * 1000))  # Kubernetes counts in thousandths


def propose_replicas(metrics: Sequence[Metric], current: int) -> int | None:
    """The largest proposal. None, which changes nothing, if no metric can be read, or if one cannot and the others
    would scale down. `computeReplicasForMetrics`.
    """
    proposals = [replicas_for(metric, current) for metric in metrics]
    known = [proposal for proposal in proposals if proposal is not None]
    if not known or (len(known) < len(proposals) and max(known) < current):
        return None
    return max(known)


class HorizontalPodAutoscaler:
    """Decides the replicas of a workload at each synchronisation."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._proposals: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def decide(self, now: float, current: int, metrics: Sequence[Metric]) -> int:
        """The replicas from now on. `normalizeDesiredReplicasWithBehaviors`."""
        proposal = propose_replicas(metrics, current)
        if proposal is None:
            return current
        stable = self._stabilize(now, current, proposal)
        replicas = self._limit_rate(now, current, stable)
        if replicas != current:
            self._changes.append((now, replicas - current))
        return replicas

    def _stabilize(self, now: float, current: int, proposal: int) -> int:
        """More replicas only if every proposal of the window up was for more, fewer only if every one of the window
        down was for fewer. `stabilizeRecommendationWithBehaviors`; minimum and maximum do not limit the proposals yet.
        """
        self._proposals.append((now, proposal))
        up, down = self._limits.scale_up.window_seconds, self._limits.scale_down.window_seconds
        while self._proposals[0][0] <= now - max(up, down) and len(self._proposals) > 1:
            self._proposals.popleft()
        lowest = min(value for at, value in self._proposals if at > now - up or at == now)
        highest = max(value for at, value in self._proposals if at > now - down or at == now)
        return min(max(current, lowest), highest)

    def _limit_rate(self, now: float, current: int, wanted: int) -> int:
        """`convertDesiredReplicasWithBehaviorRate`"""
        if wanted > current:
            highest = max(self._allowed(now, current, policy, +1) for policy in self._limits.scale_up.policies)
            return min(wanted, max(highest, current), self._limits.max_replicas)
        if wanted < current:
            lowest = min(self._allowed(now, current, policy, -1) for policy in self._limits.scale_down.policies)
            return max(wanted, min(lowest, current), self._limits.min_replicas)
        return current

    def _allowed(self, now: float, current: int, policy: Policy, sign: int) -> int:
        """From the replicas at the start of the period. `calculateScaleUpLimitWithScalingRules`, `…ScaleDownLimit…`"""
        start = current - sum(change for at, change in self._changes if at > now - policy.period_seconds)
        if policy.type == "Pods":
            return start + sign * policy.value
        changed = start * (1 + sign * policy.value / 100)
        return ceil(changed) if sign > 0 else int(changed)
