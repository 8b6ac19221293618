"""The metrics of the worker: every one is declared here, once, with its documentation.

Names follow Prometheus' conventions. Every label has a few known values, or one per partition or server: never a user,
an execution, an agent or the name of a metric. A counter with labels starts at 0, so that its first increment is
visible.
"""

from math import nan
from platform import python_version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterKind
from worker.core.outcome import OutcomeKind
from worker.observability.activity import OpenInserts
from worker.observability.instruments import BulkHistogram

PREFIX = "metrics_worker_"

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


class MetricFactory:
    """Creates metrics in a registry, with the prefix of the worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def counter(self, name: str, documentation: str, *labels: str) -> Counter:
        """Declare a counter; its name gets the prefix of the worker, and `_total`."""
        return Counter(f"{PREFIX}{name}", documentation, labels, registry=self.registry)

    def gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        """Declare a gauge."""
        return Gauge(f"{PREFIX}{name}", documentation, labels, registry=self.registry)

    def histogram(self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        """Declare a histogram; `buckets` are their upper bounds."""
        return Histogram(f"{PREFIX}{name}", documentation, labels, buckets=buckets, registry=self.registry)


class EventMetrics:
    """What has become of events and their metrics."""

    def __init__(self, declare: MetricFactory) -> None:
        self.events = declare.counter("events", "Records read as events.")
        self.tombstones = declare.counter("tombstones", "Records without a value, skipped.")
        self.metrics = declare.counter("metrics", "Metrics of processed events: rows, dead letters and skipped ones.")
        self.rows = declare.counter("rows_written", "Rows acknowledged by ClickHouse.")
        self.skipped = declare.counter("metrics_skipped", "Metrics that are not numbers, by JSON type.", "json_type")
        self.skipped_labels = declare.counter(
            "labels_skipped", "Labels of events that break a rule, by reason; their events lose nothing else.", "reason"
        )
        self.dead_letters = declare.counter(
            "dead_letters", "Dead letters acknowledged by Kafka, by kind and error class.", "kind", "error_class"
        )
        for kind, classes in _ERROR_CLASSES.items():
            for error_class in classes:
                self.dead_letters.labels(kind, error_class.value)


class InsertMetrics:
    """INSERT statements."""

    def __init__(self, declare: MetricFactory, unanswered: OpenInserts) -> None:
        self._declare_unanswered(declare, unanswered)
        self.statements = declare.counter(
            "inserts",
            "INSERT statements by outcome (written, refused, too_large, unavailable, misconfigured, unclassified; "
            "exception: a bug of the worker) and ClickHouse's code.",
            "outcome",
            "code",
        )
        self.retries = declare.counter(
            "insert_retries",
            "Inserts that repeat one with the same rows and token; dropped: because of a revoke or a stop.",
            "outcome",
            "code",
        )
        for counter in (self.statements, self.retries):
            counter.labels(OutcomeKind.WRITTEN.value, "")
        self.seconds = declare.histogram(
            "insert_seconds", "Duration of INSERT statements, failed ones included.", _SECONDS
        )
        self.rows = declare.histogram("insert_rows", "Rows of each INSERT statement, failed ones included.", _SIZES)
        self.retry_age = declare.histogram(
            "insert_retry_age_seconds",
            "Age of the first insert of the same rows when it is repeated: the deduplication window must be longer.",
            _AGES,
        )

    @staticmethod
    def _declare_unanswered(declare: MetricFactory, unanswered: OpenInserts) -> None:
        declare.gauge(
            "unanswered_inserts", "Blocks sent at least once without an answer, to be sent again."
        ).set_function(lambda: len(unanswered))
        declare.gauge(
            "oldest_unanswered_insert_seconds",
            "Time since the oldest unanswered block was first sent; 0 if there is none. Times the rate of inserts "
            "into the table, it is how many newer inserts its deduplication window must hold.",
        ).set_function(lambda: unanswered.oldest()[0])


class IsolationMetrics:
    """How invalid rows are found."""

    def __init__(self, declare: MetricFactory) -> None:
        self.splits = declare.counter(
            "splits", "Blocks that were split: refused, too large, or failed with an unclassified code.", "reason"
        )
        for kind in (OutcomeKind.REFUSED, OutcomeKind.TOO_LARGE, OutcomeKind.UNCLASSIFIED):
            self.splits.labels(kind.value)
        self.rows_not_isolated = declare.counter(
            "rows_not_isolated",
            "Rows refused together with others, because isolating each would have taken too many inserts; they are "
            "dead letters, and may be valid.",
        )
        self.constraint_queries = declare.counter(
            "constraint_questions",
            "Queries for the rows of a block that violate a constraint: violated (some do), fulfilled (none does), "
            "unanswered.",
            "outcome",
        )
        for outcome in ("violated", "fulfilled", "unanswered"):
            self.constraint_queries.labels(outcome)


class BatchMetrics:
    """Batches of records, and their dead letters."""

    def __init__(self, declare: MetricFactory) -> None:
        self.seconds = declare.histogram(
            "batch_seconds",
            "Duration of a batch from decoding to its last acknowledgement, by outcome: done, or dropped (because of a "
            "revoke or a stop; it is read again).",
            _LONG_SECONDS,
            "outcome",
        )
        for outcome in ("done", "dropped"):
            self.seconds.labels(outcome)
        self.records = declare.histogram("batch_events", "Records of each batch.", _SIZES)
        self.months = declare.histogram(
            "batch_months",
            "Months of `completed_at` of the rows of each batch; ClickHouse writes a part for each.",
            _MONTHS,
        )
        self.dead_letter_seconds = declare.histogram(
            "dead_letter_put_seconds",
            "Duration of writing dead letters until all are acknowledged, failed attempts included.",
            _LONG_SECONDS,
        )
        self.end_to_end = BulkHistogram(
            f"{PREFIX}end_to_end_seconds",
            "From the timestamp of a record to the end of its batch, dead letters included.",
            _LATENCY_SECONDS,
            declare.registry,
        )


class KafkaMetrics:
    """Offsets, rebalances and logs."""

    def __init__(self, declare: MetricFactory) -> None:
        self.commits = declare.counter("commits", "Commits of offsets that Kafka acknowledged.")
        self.commit_failures = declare.counter("commit_failures", "Commits of offsets that Kafka did not acknowledge.")
        self.rebalances = declare.counter("rebalances", "Rebalances that revoked the partitions.")
        self.assigned = declare.gauge("assigned_partitions", "Partitions that this worker owns now.")
        self.records_expired = declare.counter(
            "records_expired",
            "Offsets that were skipped because retention or DeleteRecords had deleted them before they were read.",
            "topic",
            "partition",
        )
        self.logs_replaced = declare.counter(
            "logs_replaced",
            "Logs that were read again from their start, because they were truncated or the topic was created again.",
            "topic",
            "partition",
        )


class StateMetrics:
    """The state of the worker now."""

    def __init__(self, declare: MetricFactory) -> None:
        self.holding = declare.gauge("holding", "1 while consumption is paused (held), by cause.", "cause")
        self.progress = declare.gauge(
            "last_progress_timestamp_seconds", "When the event loop last made progress, idle or not (Unix time)."
        )
        self.last_batch = declare.gauge(
            "last_batch_timestamp_seconds", "When a batch last ended (Unix time); 0 before the first."
        )
        self.roll_up_failing = declare.gauge(
            "roll_up_failing",
            "1 while the last refresh of the roll-up per day failed; NaN where the user may not see it.",
        )
        self.roll_up_failing.set(nan)
        self.clickhouse_server_in_use = declare.gauge(
            "clickhouse_server_in_use",
            "1 while the worker is connected to this server of CLICKHOUSE_HOST for INSERTs, else 0.",
            "server",
        )


class ProcessMetrics:
    """The process and its version."""

    def __init__(self, declare: MetricFactory) -> None:
        self._build_info = declare.gauge("build_info", "1; the labels are the versions.", "version", "python_version")
        # process_start_time_seconds, process_cpu_seconds_total, process_resident_memory_bytes and others
        ProcessCollector(registry=declare.registry)

    def set_version(self, version: str) -> None:
        """Set the version of the worker."""
        self._build_info.labels(version, python_version()).set(1)
