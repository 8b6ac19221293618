"""A scenario, played with one rule of scaling: the model of the workers, and the arithmetic of KEDA and Kubernetes."""

from collections.abc import Callable
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from deploy.autoscaling.horizontal_pod_autoscaler import SYNC_SECONDS, HorizontalPodAutoscaler, Metric
from deploy.autoscaling.keda import Fallback
from deploy.autoscaling.manifests import CPU_RECORD, LAG_RECORD, Scaling, read_min_ready_seconds
from deploy.autoscaling.scenarios import DAY_SECONDS, Scenario
from deploy.autoscaling.workers import RESTART_SECONDS, Speed, Workers
from deploy.scale_table import COSTS
from worker.planning.arithmetic import CORE_SHARE
from worker.settings.fields import Settings

STEP_SECONDS = 5
RULES_SECONDS = 30
"""How often Prometheus evaluates the recording rules."""
LAG_LIMIT_SECONDS = 10
"""The oldest event should not be older; it is, for a session timeout, whenever a static member leaves."""
SPEED = Speed(COSTS.cpu_microseconds / 1e6, CORE_SHARE)
_SESSION_SECONDS = int(Settings.model_fields["kafka_session_timeout_seconds"].default)
Rule = Callable[[Workers], list[Metric]]
"""What the triggers of KEDA answer."""


class Sample(NamedTuple):
    """At one time, in seconds of the day.

    Attributes:
        age: of the oldest event that waits, in seconds: as long as its partition took to fill to its backlog.
    """

    at: float
    replicas: int
    age: float


class Result(NamedTuple):
    """What came of it."""

    samples: list[Sample]
    rebalances: int

    @property
    def steps(self) -> list[Sample]:
        """The samples at which the replicas changed."""
        return [after for before, after in pairwise(self.samples) if _differ(before, after)]

    @property
    def late_seconds(self) -> int:
        """How long a partition was further behind than the limit."""
        return STEP_SECONDS * sum(sample.age > LAG_LIMIT_SECONDS for sample in self.samples)

    @property
    def worker_hours(self) -> float:
        """Of all replicas together."""
        return STEP_SECONDS * sum(sample.replicas for sample in self.samples) / 3600

    @property
    def turns(self) -> int:
        """How often scaling changed its direction; a day with one peak needs one."""
        replicas = [self.samples[0].replicas, *(sample.replicas for sample in self.steps)]
        signs = [after > before for before, after in pairwise(replicas)]
        return sum(before != after for before, after in pairwise(signs))


def level_and_lag(scaling: Scaling) -> Rule:
    """The rule of the manifests: CPU time and lag, both as the recording rules have them; a worker on hold counts as
    one worker and has no lag.
    """
    cpu, lag = scaling.thresholds[CPU_RECORD], scaling.thresholds[LAG_RECORD]

    def measure(workers: Workers) -> list[Metric]:
        wanted = workers.replicas if workers.holds else workers.mean_cores / scaling.cores_per_worker
        waiting = 0.0 if workers.holds else sum(workers.backlog)
        return [Metric(wanted, cpu), Metric(waiting, lag)]

    return measure


def lag_alone(scaling: Scaling) -> Rule:
    """What KEDA's trigger `kafka` does alone, with the same threshold and `allowIdleConsumers: false`."""
    lag = scaling.thresholds[LAG_RECORD]
    return lambda workers: [Metric(min(sum(workers.backlog), lag * len(workers.backlog)), lag)]


def simulate(scenario: Scenario, scaling: Scaling, measure: Rule) -> Result:
    """Play a scenario; it begins with the replicas that the load needs at that time."""
    limits = scaling.limits
    needed = ceil(scenario.events_per_second(0) * SPEED.core_seconds / scaling.cores_per_worker)
    workers = Workers(
        SPEED, max(limits.min_replicas, needed), limits.max_replicas, _SESSION_SECONDS, scaling.rate_seconds
    )
    autoscaler, fallback, rollout = HorizontalPodAutoscaler(limits), Fallback(*scaling.fallback), Rollout(workers)
    metrics, samples = measure(workers), list[Sample]()
    for at in range(0, DAY_SECONDS, STEP_SECONDS):
        workers.holds = scenario.outage_begins <= at < scenario.outage_ends
        if at == scenario.deploy_at:
            rollout.begin(at)
        rollout.advance(at)
        rate = scenario.events_per_second(at)
        workers.advance(at, STEP_SECONDS, rate)
        if at % RULES_SECONDS == 0:
            metrics = measure(workers)
        if at % SYNC_SECONDS == 0:
            unread = scenario.unread_from <= at < scenario.unread_until
            read = [metric._replace(value=None) if unread else metric for metric in metrics]
            workers.scale(autoscaler.decide(at, workers.replicas, fallback.apply(read, workers.replicas)), at)
        samples.append(Sample(at, workers.replicas, max(workers.backlog) * len(workers.backlog) / rate))
    return Result(samples, workers.rebalances)


class Rollout:
    """Replaces the pods of a StatefulSet: the highest ordinal first, each when the one before was ready long enough."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._pending = 0
        self._next_at = 0.0

    def begin(self, now: float) -> None:
        """Replace all pods that there are."""
        self._pending, self._next_at = self._workers.replicas, now

    def advance(self, now: float) -> None:
        """Replace the next pod, if it is time."""
        if self._pending and now >= self._next_at:
            self._pending = min(self._pending, self._workers.replicas) - 1
            self._workers.restart(self._pending, now)
            self._next_at = now + RESTART_SECONDS + read_min_ready_seconds()


def _differ(before: Sample, after: Sample) -> bool:
    return before.replicas != after.replicas
