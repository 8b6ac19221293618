"""The series of an ordinary day, for `promtool test rules`: what workers, a watch, KEDA and kube-state-metrics
would show.

The worker's own series come from its declarations: each pod has a `Telemetry`, which is scraped every minute. The day
begins at noon. It has a deploy, a restart of the brokers, a quiet night in which retention empties the topic, the
scheduled replay, and an agent that sends NaN all the time. A quiet weekend may follow it instead of the night.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry

from tests.deploy.series import Recorder, names_in_rules
from worker.core.errors import ErrorClass
from worker.core.hold import TOPIC, Cause
from worker.observability.lag import PartitionLag
from worker.observability.metrics import PREFIX
from worker.observability.open_dead_letters import OpenCause, OpenDeadLetters, OpenDeadLettersCollector, WatchState
from worker.observability.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP, HOUR, DAY = 60, 3_600, 86_400
WORKERS, PARTITIONS = 3, 3
DEPLOY_AT, BROKERS_RESTART_AT = 3 * HOUR, 5 * HOUR
NIGHT = (11 * HOUR, 17 * HOUR)
WEEKEND = (6 * HOUR, 68 * HOUR)
"""From Friday, six in the evening, to Monday, eight in the morning."""
RETENTION_EMPTIES_AT = 14 * HOUR
EVENTS_PER_SECOND, METRICS_PER_EVENT = 20, 10
_INSTANCE = {"namespace": "metrics", "app_kubernetes_io_instance": "metrics-worker"}
_REPLAY_SECONDS = 900


class Day(NamedTuple):
    """What may differ, so that a test can show that the series reach the rules.

    Attributes:
        seconds: of the day that are recorded.
        nan_share: of the metrics, those that are NaN beside those of the one agent.
        quiet: the first and the last second between which only that agent sends.
    """

    seconds: int = DAY
    nan_share: float = 0.0
    quiet: tuple[int, int] = NIGHT


class Worker:
    """A pod of the StatefulSet. After a deploy it has another address, and its counters begin at 0."""

    def __init__(self, ordinal: int, day: Day) -> None:
        self._day = day
        self._ordinal = ordinal
        self._generation = 0
        self._away_until = 0
        self._committed = 1_000_000.0
        self._log_start = 600_000.0
        self._telemetry: Telemetry
        self._start(at=-HOUR)

    @property
    def is_ready(self) -> bool:
        """What the kubelet learns from `/readyz`."""
        return not self._is_away and not self._holds

    def advance(self, at: int) -> None:
        """Process what came in the step before `at`."""
        if at == DEPLOY_AT + STEP * (WORKERS - self._ordinal):
            self._generation, self._away_until = self._generation + 1, at + STEP
            self._start(at + STEP)
        self._is_away = at < self._away_until
        self._holds = at == BROKERS_RESTART_AT
        for cause in Cause:
            self._telemetry.state.holding.labels(cause.value).set(self._holds and cause is Cause.DEAD_LETTERS)
        self._telemetry.state.holding.labels(TOPIC).set(0)
        self._telemetry.state.progress.set_function(lambda: at)
        self._lag = 5_000.0 if BROKERS_RESTART_AT <= at <= BROKERS_RESTART_AT + STEP else 3.0
        if at == RETENTION_EMPTIES_AT:
            self._log_start = self._committed
        if self._is_away or at == BROKERS_RESTART_AT:
            self._telemetry.kafka.commit_failures.inc(not self._is_away)
            return
        if self._day.quiet[0] <= at < self._day.quiet[1]:
            self._lag = 0.0
        else:
            self._process(at, EVENTS_PER_SECOND * STEP // WORKERS, nan=self._day.nan_share)
        if self._ordinal == 0:  # the agent: an event a minute, one of its metrics is NaN
            self._process(at, 1, nan=1 / METRICS_PER_EVENT)

    def scrape(self, at: int, recorder: Recorder) -> None:
        """Record all series, if there is a pod."""
        if self._is_away:
            return
        labels = {
            **_INSTANCE,
            "job": "metrics-worker",
            "pod": f"metrics-worker-{self._ordinal}",
            "instance": f"10.0.{self._generation}.{self._ordinal}:8080",
        }
        recorder.record("up", labels, 1)
        recorder.record("process_start_time_seconds", labels, self._started)
        recorder.record("process_cpu_seconds_total", labels, 0.1 * (at - self._started))
        recorder.record_families(self._selected.collect(), labels)
        recorder.record_families(self._telemetry._lag.collect(), labels)

    def _start(self, at: int) -> None:
        self._started = at
        self._is_away = self._holds = False
        self._lag = 0.0
        self._telemetry = Telemetry()
        self._selected = self._telemetry.registry.restricted_registry(names_in_rules())
        self._telemetry.set_sources("0.1.0", lambda: 0.0, lambda: list(self._lags()), lambda: ("events", 7.0 * DAY))
        self._telemetry.set_roll_up(failing=False)
        for lag in self._lags():
            self._telemetry.start_counters_of(lag.topic, lag.partition)

    def _lags(self) -> Iterator[PartitionLag]:
        for partition in range(self._ordinal, PARTITIONS, WORKERS):
            age = 60.0 if self._lag > 1_000 else min(self._lag, 1.0)
            retained = int(self._committed - self._log_start)
            yield PartitionLag("events", partition, int(self._lag), age, int(self._log_start), retained)

    def _process(self, at: int, events: int, nan: float) -> None:
        """A batch; of its metrics a share is NaN."""
        telemetry, metrics = self._telemetry, events * METRICS_PER_EVENT
        letters = round(metrics * nan)
        telemetry.count_events(events, metrics, metrics - letters, 0)
        telemetry._events.dead_letters.labels("metric", ErrorClass.INVALID_METRIC.value).inc(letters)
        telemetry.inserts.statements.labels("written", "").inc()
        telemetry.batches.records.observe(events)
        telemetry.batches.months.observe(1)
        telemetry.state.last_batch.set(at)
        self._committed += events / PARTITIONS * WORKERS


class Watch:
    """`dlq watch`: it restarts with the deploy, and cannot read the topic while the brokers restart."""

    def __init__(self) -> None:
        self._at = self._checked = 0
        self._collector = OpenDeadLettersCollector(PREFIX, CollectorRegistry(), "events.dlq", lambda: self._state)

    def scrape(self, at: int, recorder: Recorder) -> None:
        """Record all series, if there is a pod."""
        self._at = at
        if at != BROKERS_RESTART_AT:
            self._checked = 0 if at == DEPLOY_AT + STEP else at  # no scan yet after the start
        if at == DEPLOY_AT:
            return
        generation = int(at > DEPLOY_AT)
        labels = {
            **_INSTANCE,
            "job": "metrics-worker-dlq-watch",
            "pod": f"watch-{generation}",
            "instance": "10.1.0.1:8080",
        }
        recorder.record("up", labels, 1)
        recorder.record_families(self._collector.collect(), labels)

    @property
    def _state(self) -> WatchState:
        """Few dead letters, all of the agent: two days old, of a cause that was seen first twenty days ago."""
        nan = OpenCause(ErrorClass.INVALID_METRIC.value, "1f0c2d3e", 2_880, -20.0 * DAY)
        letters = OpenDeadLetters([nan], self._at - 2.0 * DAY, self._at - 2.0 * DAY)
        return WatchState(letters, float(self._checked), 0.1, 7.0 * DAY)


@cache
def record_day(day: Day) -> Recorder:
    """The series of the day."""
    recorder, workers, watch = Recorder(), [Worker(ordinal, day) for ordinal in range(WORKERS)], Watch()
    for at in range(0, day.seconds + STEP, STEP):
        recorder.begin_scrape()
        for worker in workers:
            worker.advance(at)
            worker.scrape(at, recorder)
        watch.scrape(at, recorder)
        _record_cluster(at, sum(worker.is_ready for worker in workers), recorder)
    return recorder


def _record_cluster(at: int, ready: int, recorder: Recorder) -> None:
    """What KEDA and kube-state-metrics show.

    The replay that ran while the brokers restarted succeeded the second time.
    """
    namespace = {"namespace": "metrics"}
    errors = 1 + (at >= BROKERS_RESTART_AT)  # one at its start, and one later
    recorder.record("keda_scaled_object_errors_total", {**namespace, "scaledObject": "metrics-worker"}, errors)
    autoscaler = {**namespace, "horizontalpodautoscaler": "keda-hpa-metrics-worker"}
    active = {**autoscaler, "condition": "ScalingActive", "status": "true"}
    recorder.record("kube_horizontalpodautoscaler_status_condition", active, 1)
    stateful_set = {**namespace, "statefulset": "metrics-worker"}
    recorder.record("kube_statefulset_replicas", stateful_set, WORKERS)
    recorder.record("kube_statefulset_status_replicas_ready", stateful_set, ready)
    for ordinal in range(WORKERS):
        pod = {**namespace, "pod": f"metrics-worker-{ordinal}", "container": "worker"}
        recorder.record("kube_pod_container_status_restarts_total", pod, 0)
    cron_job = {**namespace, "cronjob": "metrics-worker-replay"}
    recorder.record("kube_cronjob_created", cron_job, -20 * DAY)
    recorder.record("kube_cronjob_status_last_successful_time", cron_job, at - at % _REPLAY_SECONDS)
    last = {**namespace, "job_name": f"metrics-worker-replay-{29_300_000 + at // _REPLAY_SECONDS * 15}"}
    retried = at // _REPLAY_SECONDS == BROKERS_RESTART_AT // _REPLAY_SECONDS
    recorder.record("kube_job_status_failed", {**last, "reason": ""}, int(retried))
    recorder.record("kube_job_failed", {**last, "condition": "true"}, 0)
