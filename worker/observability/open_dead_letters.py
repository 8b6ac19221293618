"""The open dead letters as telemetry: gauges that are read when Prometheus scrapes.

The labels have a bounded number of values: the error classes, and the causes with the most open dead letters.
"""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class OpenCause(NamedTuple):
    """The open dead letters of a cause, or those of all other causes of a class.

    Attributes:
        open_count: how many are open.
        first_seen: the timestamp of the first record of the cause that the topic still has, settled or not: of the
            broker's clock where the topic has that. Of several causes the latest of these times. In Unix time; None if
            it is not known.
    """

    error_class: str
    cause: str
    open_count: int
    first_seen: float | None


class OpenDeadLetters(NamedTuple):
    """What a scan has found. Times are Unix time, None without open dead letters.

    Attributes:
        oldest_failure: when the oldest one failed.
        oldest_timestamp: the earliest timestamp of their records, which decides when retention deletes them.
    """

    causes: Sequence[OpenCause]
    oldest_failure: float | None = None
    oldest_timestamp: float | None = None


class WatchState(NamedTuple):
    """What is known of the dead-letter topic.

    Attributes:
        open: None before the first scan.
        last_check: when `open` was last known to be current (Unix time); 0 before the first scan.
        scan_seconds: how long the last scan took.
        retention_seconds: of the topic; infinite if time deletes nothing, None if it is not known.
        problem: why the last check has failed; None if it has not.
    """

    open: OpenDeadLetters | None = None
    last_check: float = 0.0
    scan_seconds: float = 0.0
    retention_seconds: float | None = None
    problem: str | None = None

    @property
    def first_expiry(self) -> float | None:
        """When retention may delete the first open dead letter (Unix time); it deletes whole segments, so it may wait.

        None if none is open, or time deletes nothing, or the retention is not known.
        """
        at = self.open.oldest_timestamp if self.open else None
        if at is None or self.retention_seconds is None or not isfinite(self.retention_seconds):
            return None
        return at + self.retention_seconds


class OpenDeadLettersCollector(Collector):
    """Calls `read_state` at each scrape, from another thread."""

    def __init__(
        self, prefix: str, registry: CollectorRegistry, topic: str, read_state: Callable[[], WatchState]
    ) -> None:
        self._prefix = prefix
        self._topic = topic
        self._read_state = read_state
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        state = self._read_state()
        yield from self._collect_causes(state.open.causes if state.open else ())
        yield self._gauge(
            "dead_letters_open_oldest_timestamp_seconds",
            "When the oldest open dead letter failed (Unix time); absent if none is open.",
            state.open.oldest_failure if state.open else None,
        )
        yield self._gauge(
            "dead_letters_first_expiry_timestamp_seconds",
            "From when on the retention time lets Kafka delete the first open dead letter (Unix time); absent if none "
            "is open, if time deletes nothing, or if Kafka does not tell the retention.",
            state.first_expiry,
        )
        yield self._gauge(
            "dead_letters_last_check_timestamp_seconds",
            "When the numbers of open dead letters were last current (Unix time); 0 before the first scan.",
            state.last_check,
        )
        yield self._gauge(
            "dead_letters_scan_seconds", "Duration of the last scan of the dead-letter topic.", state.scan_seconds
        )
        retention = GaugeMetricFamily(
            f"{self._prefix}retention_seconds",
            "Retention time of the topic, +Inf if time deletes nothing; absent if Kafka does not tell it.",
            labels=("topic",),
        )
        if state.retention_seconds is not None:
            retention.add_metric((self._topic,), state.retention_seconds)
        yield retention

    def _collect_causes(self, causes: Sequence[OpenCause]) -> Iterator[Metric]:
        labels = ("error_class", "cause")
        count = GaugeMetricFamily(
            f"{self._prefix}dead_letters_open",
            "Dead letters that are not settled, by error class and ID of the cause; `other`: of all causes but the "
            "hundred with the most; `foreign`: records that are no dead letters.",
            labels=labels,
        )
        first_seen = GaugeMetricFamily(
            f"{self._prefix}dead_letters_cause_first_seen_timestamp_seconds",
            "Timestamp of the first record of an open cause, of all that the topic has, settled or not (Unix time); "
            "`other`: the latest of these times.",
            labels=labels,
        )
        for cause in causes:
            count.add_metric((cause.error_class, cause.cause), cause.open_count)
            if cause.first_seen is not None:
                first_seen.add_metric((cause.error_class, cause.cause), cause.first_seen)
        yield from (count, first_seen)

    def _gauge(self, name: str, documentation: str, value: float | None) -> Metric:
        gauge = GaugeMetricFamily(f"{self._prefix}{name}", documentation)
        if value is not None:
            gauge.add_metric((), value)
        return gauge
