"""What the worker measures about itself: metrics for Prometheus, and the same numbers for the status page."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import nan
from time import monotonic, perf_counter, time

from prometheus_client import CollectorRegistry

from worker.core.errors import ErrorClass
from worker.core.model import Failed, Record, SkippedItem
from worker.observability.activity import OpenInserts, RecentActivity
from worker.observability.lag import LagCollector, PartitionLag
from worker.observability.metrics import (
    PREFIX,
    BatchMetrics,
    EventMetrics,
    InsertMetrics,
    IsolationMetrics,
    KafkaMetrics,
    MetricFactory,
    ProcessMetrics,
    StateMetrics,
)


class Telemetry:
    """All metrics, in a registry of their own so that a test can have several.

    Attributes:
        activity: for the status page, which keeps no history.
        read_servers_in_use: returns the servers of ClickHouse that INSERTs use now.
        in_flight, unanswered: INSERTs without an answer yet, and pieces to be inserted again; they decide readiness.
        inserts, isolation, batches, kafka, state: the metrics, by subject.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        declare = MetricFactory(self.registry)
        self.activity = RecentActivity()
        self.read_servers_in_use: Callable[[], Collection[str]] = tuple
        self.in_flight = OpenInserts()
        self.unanswered = OpenInserts()
        self.inserts = InsertMetrics(declare, self.unanswered)
        self.isolation = IsolationMetrics(declare)
        self.batches = BatchMetrics(declare)
        self.kafka = KafkaMetrics(declare)
        self.state = StateMetrics(declare)
        self._process = ProcessMetrics(declare)
        self._events = EventMetrics(declare)
        self._lag = LagCollector(PREFIX, self.registry)

    def set_sources(
        self,
        version: str,
        last_progress: Callable[[], float],
        read_lags: Callable[[], Iterable[PartitionLag]],
        read_retention: Callable[[], tuple[str, float | None]] = lambda: ("", None),
    ) -> None:
        """Set what is read at each scrape, from another thread; `last_progress` returns a `time.monotonic`."""
        self._process.set_version(version)
        self.state.progress.set_function(lambda: time() - (monotonic() - last_progress()))
        self._lag.read_lags = read_lags
        self._lag.read_retention = read_retention

    def start_counters_of(self, topic: str, partition: int) -> None:
        """Let the counters of a partition start at 0."""
        for counter in (self.kafka.records_expired, self.kafka.logs_replaced):
            counter.labels(topic, str(partition))

    def set_roll_up(self, failing: bool | None) -> None:
        """Set whether the last refresh of the roll-up failed; None: it is not known."""
        self.state.roll_up_failing.set(nan if failing is None else failing)

    def set_clickhouse_servers(self, servers: Iterable[str], read_in_use: Callable[[], Collection[str]]) -> None:
        """Set all servers of ClickHouse; `read_in_use` is called at each scrape, from another thread."""
        self.read_servers_in_use = read_in_use
        for server in servers:
            self.state.clickhouse_server_in_use.labels(server).set_function(partial(self._is_in_use, server))

    def _is_in_use(self, server: str) -> float:
        return float(server in self.read_servers_in_use())

    def count_events(self, events: int, metrics: int, written: int, tombstones: int) -> None:
        """Count processed events: of their metrics, `written` are rows."""
        self._events.events.inc(events)
        self._events.metrics.inc(metrics)
        self._events.rows.inc(written)
        self._events.tombstones.inc(tombstones)
        self.activity.count(events=events, rows=written)

    def count_skipped(
        self, metrics: Mapping[str, int], labels: Mapping[str, int], items: Mapping[SkippedItem, int]
    ) -> None:
        """Count skipped metrics by JSON type, skipped labels by reason, and the names of both."""
        for json_type, number in metrics.items():
            self._events.skipped.labels(json_type).inc(number)
        for reason, number in labels.items():
            self._events.skipped_labels.labels(reason).inc(number)
        if items:
            self.activity.count_skipped(items)

    def count_dead_letters(self, dead_letters: Iterable[tuple[Failed, ErrorClass]]) -> None:
        """Count acknowledged dead letters, each with its class."""
        dead_letters = list(dead_letters)
        for item, error_class in dead_letters:
            self._events.dead_letters.labels(item.kind, error_class.value).inc()
        self.activity.count_dead_letters(dead_letters)

    @contextmanager
    def measure_batch(self, records: Sequence[Record]) -> Iterator[None]:
        """Measure the processing of a batch."""
        started = perf_counter()
        outcome = "dropped"
        try:
            yield
            outcome = "done"
        finally:
            self.batches.seconds.labels(outcome).observe(perf_counter() - started)
            self.batches.records.observe(len(records))
        now = time()
        self.state.last_batch.set(now)
        self.batches.end_to_end.observe_all(
            [now - record.timestamp / 1000 for record in records if record.timestamp >= 0]
        )
