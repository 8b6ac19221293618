"""What the worker measures about itself. Every metric is declared here, once, with its documentation.

Names follow Prometheus' conventions: a counter ends in `_total`, times are in seconds. Every label has a few known
values, or one per partition: never a user, an execution, an agent or the name of a metric.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from platform import python_version
from time import monotonic, perf_counter, time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterKind, Failed, Record
from worker.core.outcome import OutcomeKind
from worker.observability.activity import RecentActivity
from worker.observability.instruments import BulkHistogram, OpenInserts
from worker.observability.lag import LagCollector, PartitionLag

_PREFIX = "metrics_worker_"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LATENCY_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
_SIZES = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1_200)
_AGES = (1, 5, 15, 60, 300, 900, 1_800, 3_600)
_ERROR_CLASSES: dict[DeadLetterKind, tuple[ErrorClass, ...]] = {
    "event": (ErrorClass.INVALID_EVENT, ErrorClass.TOO_LARGE),
    "metric": (ErrorClass.INVALID_METRIC, ErrorClass.ROW_REFUSED, ErrorClass.STORE_UNAVAILABLE, ErrorClass.TOO_LARGE),
}
"""The classes of each kind of dead letters."""


class Telemetry:
    """All metrics, in a registry of their own so that a test can have several.

    Counters with labels start at 0, so that the first increment is visible as an increase.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.activity = RecentActivity()
        self._declare_events()
        self._declare_inserts()
        self._declare_batches()
        self._declare_kafka()
        self._declare_state()

    def _declare_events(self) -> None:
        self.events = self._counter("events", "Records read as events.")
        self.tombstones = self._counter("tombstones", "Records without a value, skipped.")
        self.metrics = self._counter("metrics", "Metrics of processed events: rows, dead letters and skipped ones.")
        self.rows = self._counter("rows_written", "Rows acknowledged by ClickHouse.")
        self.skipped = self._counter("metrics_skipped", "Metrics that are not numbers, by JSON type.", "json_type")
        self.dead_letters = self._counter(
            "dead_letters", "Dead letters acknowledged by Kafka, by kind and error class.", "kind", "error_class"
        )
        for kind, classes in _ERROR_CLASSES.items():
            for error_class in classes:
                self.dead_letters.labels(kind, error_class.value)

    def _declare_inserts(self) -> None:
        self.inserts = self._counter(
            "inserts",
            "INSERT statements by outcome (written, refused, too_large, unavailable, misconfigured, unclassified; "
            "exception: a bug of the worker) and ClickHouse's code.",
            "outcome",
            "code",
        )
        self.insert_retries = self._counter(
            "insert_retries",
            "Inserts that repeat one with the same rows and token; dropped: because of a revoke or a stop.",
            "outcome",
            "code",
        )
        for counter in (self.inserts, self.insert_retries):
            counter.labels(OutcomeKind.WRITTEN.value, "")
        self.splits = self._counter(
            "splits", "Blocks that were split: refused, too large, or failed with an unclassified code.", "reason"
        )
        for kind in (OutcomeKind.REFUSED, OutcomeKind.TOO_LARGE, OutcomeKind.UNCLASSIFIED):
            self.splits.labels(kind.value)
        self.not_isolated = self._counter(
            "rows_not_isolated",
            "Rows refused together with others, because isolating each would have taken too many inserts; they are "
            "dead letters, and may be valid.",
        )
        self.constraint_questions = self._counter(
            "constraint_questions",
            "Queries for the rows of a block that violate a constraint: violated (some do), fulfilled (none does), "
            "unanswered.",
            "outcome",
        )
        for outcome in ("violated", "fulfilled", "unanswered"):
            self.constraint_questions.labels(outcome)
        self.insert_seconds = self._histogram(
            "insert_seconds", "Duration of INSERT statements, failed ones included.", _SECONDS
        )
        self.insert_rows = self._histogram(
            "insert_rows", "Rows of each INSERT statement, failed ones included.", _SIZES
        )
        self.insert_retry_age = self._histogram(
            "insert_retry_age_seconds",
            "Age of the first insert of the same rows when it is repeated: the deduplication window must be longer.",
            _AGES,
        )
        self.in_flight = OpenInserts()
        self.unanswered = OpenInserts()
        self._gauge(
            "unanswered_inserts", "Blocks sent at least once without an answer, to be sent again."
        ).set_function(lambda: len(self.unanswered))
        self._gauge(
            "oldest_unanswered_insert_seconds",
            "Time since the oldest unanswered block was first sent; 0 if there is none. Times the rate of inserts "
            "into the table, it is how many newer inserts its deduplication window must hold.",
        ).set_function(lambda: self.unanswered.oldest()[0])

    def _declare_batches(self) -> None:
        self.batch_seconds = self._histogram(
            "batch_seconds",
            "Duration of a batch from decoding to its last acknowledgement, by outcome: done, or dropped (because of a "
            "revoke or a stop; it is read again).",
            _LONG_SECONDS,
            "outcome",
        )
        for outcome in ("done", "dropped"):
            self.batch_seconds.labels(outcome)
        self.batch_events = self._histogram("batch_events", "Records of each batch.", _SIZES)
        self.batch_months = self._histogram(
            "batch_months",
            "Months of `completed_at` of the rows of each batch; ClickHouse writes a part for each.",
            _MONTHS,
        )
        self.dead_letter_seconds = self._histogram(
            "dead_letter_put_seconds",
            "Duration of writing dead letters until all are acknowledged, failed attempts included.",
            _LONG_SECONDS,
        )
        self.end_to_end = BulkHistogram(
            f"{_PREFIX}end_to_end_seconds",
            "From the timestamp of a record to the end of its batch, dead letters included.",
            _LATENCY_SECONDS,
            self.registry,
        )

    def _declare_kafka(self) -> None:
        self.commits = self._counter("commits", "Commits of offsets that Kafka acknowledged.")
        self.commit_failures = self._counter("commit_failures", "Commits of offsets that Kafka did not acknowledge.")
        self.rebalances = self._counter("rebalances", "Rebalances that revoked the partitions.")
        self.assigned = self._gauge("assigned_partitions", "Partitions that this worker owns now.")
        self.records_expired = self._counter(
            "records_expired",
            "Offsets that were skipped because retention or DeleteRecords had deleted them before they were read.",
            "topic",
            "partition",
        )
        self.logs_replaced = self._counter(
            "logs_replaced",
            "Logs that were read again from their start, because they were truncated or the topic was created again.",
            "topic",
            "partition",
        )
        self._lag = LagCollector(_PREFIX, self.registry)

    def _declare_state(self) -> None:
        self.holding = self._gauge("holding", "1 while consumption is paused (held), by cause.", "cause")
        self.progress = self._gauge(
            "last_progress_timestamp_seconds", "When the event loop last made progress, idle or not (Unix time)."
        )
        self.last_batch = self._gauge(
            "last_batch_timestamp_seconds", "When a batch last ended (Unix time); 0 before the first."
        )
        self.build_info = self._gauge("build_info", "1; the labels are the versions.", "version", "python_version")
        # process_start_time_seconds, process_cpu_seconds_total, process_resident_memory_bytes and others
        ProcessCollector(registry=self.registry)

    def set_sources(
        self,
        version: str,
        last_progress: Callable[[], float],
        read_lags: Callable[[], Iterable[PartitionLag]],
        read_retention: Callable[[], tuple[str, float | None]] = lambda: ("", None),
    ) -> None:
        """Set what is read at each scrape, from another thread; `last_progress` returns a `time.monotonic`."""
        self.build_info.labels(version, python_version()).set(1)
        self.progress.set_function(lambda: time() - (monotonic() - last_progress()))
        self._lag.read_lags = read_lags
        self._lag.read_retention = read_retention

    def start_counters_of(self, topic: str, partition: int) -> None:
        """Let the counters of a partition start at 0."""
        for counter in (self.records_expired, self.logs_replaced):
            counter.labels(topic, str(partition))

    def count_events(
        self, events: int, metrics: int, written: int, skipped: Mapping[str, int], tombstones: int
    ) -> None:
        """Count processed events: of their metrics, `written` are rows, and `skipped` counts others by JSON type."""
        self.events.inc(events)
        self.metrics.inc(metrics)
        self.rows.inc(written)
        self.tombstones.inc(tombstones)
        for json_type, number in skipped.items():
            self.skipped.labels(json_type).inc(number)
        self.activity.count(events=events, rows=written)

    def count_dead_letters(self, dead_letters: Iterable[tuple[Failed, ErrorClass]]) -> None:
        """Count acknowledged dead letters, each with its class."""
        dead_letters = list(dead_letters)
        for item, error_class in dead_letters:
            self.dead_letters.labels(item.kind, error_class.value).inc()
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
            self.batch_seconds.labels(outcome).observe(perf_counter() - started)
            self.batch_events.observe(len(records))
        now = time()
        self.last_batch.set(now)
        self.end_to_end.observe_all([now - record.timestamp / 1000 for record in records if record.timestamp >= 0])

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}{name}", documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}{name}", documentation, labels, buckets=buckets, registry=self.registry)
