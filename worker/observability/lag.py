"""How far the worker is behind, and retention behind it, as telemetry: gauges that are read when Prometheus scrapes."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class PartitionLag(NamedTuple):
    """How far the worker is behind in a partition that it owns: the number of `records` that are not committed.

    `seconds` is the age of the oldest of them by its timestamp; before it is read, how long it is known to wait.
    `log_start` is the offset of the first record that Kafka has, and `retained` how many offsets it has before the
    first one that is not committed: retention deletes these first. Both are None if they are not known.
    """

    topic: str
    partition: int
    records: int
    seconds: float
    log_start: int | None = None
    retained: int | None = None


class LagCollector(Collector):
    """Calls `read_lags`, which returns the lag of each owned partition, at each scrape, from another thread.

    `read_retention` returns the topic and its retention in seconds, None if it is not known; it is called likewise.
    """

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self.read_lags: Callable[[], Iterable[PartitionLag]] = tuple
        self.read_retention: Callable[[], tuple[str, float | None]] = lambda: ("", None)
        self._prefix = prefix
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        labels = ("topic", "partition")
        records = GaugeMetricFamily(
            f"{self._prefix}lag_records", "Records of an owned partition that are not committed.", labels=labels
        )
        seconds = GaugeMetricFamily(
            f"{self._prefix}lag_seconds",
            "Age of the oldest record of an owned partition that is not committed; 0 if there is none.",
            labels=labels,
        )
        starts = GaugeMetricFamily(
            f"{self._prefix}log_start_offset", "Offset of the first record of an owned partition.", labels=labels
        )
        retained = GaugeMetricFamily(
            f"{self._prefix}retained_records",
            "Offsets from the start of the log to the first record that is not committed. At 0 the next record that "
            "retention deletes is one that was not read.",
            labels=labels,
        )
        retention = GaugeMetricFamily(
            f"{self._prefix}retention_seconds",
            "Retention time of the topic, +Inf if time deletes nothing; absent if Kafka does not tell it.",
            labels=("topic",),
        )
        for lag in self.read_lags():
            place = (lag.topic, str(lag.partition))
            records.add_metric(place, lag.records)
            seconds.add_metric(place, lag.seconds)
            if lag.log_start is not None and lag.retained is not None:
                starts.add_metric(place, lag.log_start)
                retained.add_metric(place, lag.retained)
        topic, retention_seconds = self.read_retention()
        if retention_seconds is not None:
            retention.add_metric((topic,), retention_seconds)
        yield from (records, seconds, starts, retained, retention)
