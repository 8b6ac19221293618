"""What KEDA hands to the HorizontalPodAutoscaler when a trigger cannot be read: its *fallback*.

Source: https://keda.sh/docs/2.17/reference/scaledobject-spec/#fallback, and `doFallback` in `pkg/fallback/fallback.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.autoscaling.horizontal_pod_autoscaler import Metric


class Fallback:
    """`currentReplicasIfHigher`: after more than `failure_threshold` failures in a row a trigger asks for the replicas
    that there are, or for `replicas` if those are more.
    """

    def __init__(self, failure_threshold: int, replicas: int) -> None:
        self._failure_threshold = failure_threshold
        self._replicas = replicas
        self._failures: dict[int, int] = {}

    def apply(self, metrics: Sequence[Metric], current: int) -> list[Metric]:
        """The metrics, those that were not read for too long replaced."""
        return [self._replace(position, metric, current) for position, metric in enumerate(metrics)]

    def _replace(self, position: int, metric: Metric, current: int) -> Metric:
        self._failures[position] = 0 if metric.value is not None else self._failures.get(position, 0) + 1
        if self._failures[position] <= self._failure_threshold:
            return metric
        return metric._replace(value=int(metric.target) * max(current, self._replicas))  # KEDA drops the fraction
