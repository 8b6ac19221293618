"""How far the worker is behind, as telemetry: a gauge per partition, read when Prometheus scrapes."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class PartitionLag(NamedTuple):
    """How far the worker is behind in a partition that it owns: the number of `records` that are not committed.

    `seconds` is the age of the oldest of them by its timestamp; before it is read, how long it is known to wait.
    """

    topic: str
    partition: int
    records: int
    seconds: float


class LagCollector(Collector):
    """Calls `read_lags`, which returns the lag of each owned partition, at each scrape, from another thread."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self.read_lags: Callable[[], Iterable[PartitionLag]] = tuple
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
        for lag in self.read_lags():
            records.add_metric((lag.topic, str(lag.partition)), lag.records)
            seconds.add_metric((lag.topic, str(lag.partition)), lag.seconds)
        yield from (records, seconds)
