"""What the program measures about itself. Every name is declared here, once, with a sentence.

Prometheus' conventions hold: a counter ends in `_total`, times are in seconds, and every label has few values that are
known beforehand, or as many as there are partitions: never a user, an execution, an agent or the name of a metric.
"""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from platform import python_version
from time import monotonic, perf_counter, time
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedMetric, Record
from worker.core.outcome import OutcomeKind
from worker.observability.instruments import BulkHistogram, RateMeter, UnansweredInserts

_PREFIX = "metrics_worker_"

_LONGEST_NAME = 256
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_BEHIND_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
_SIZES = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000)
_AGES = (1, 5, 15, 60, 300, 900, 1_800, 3_600)


class PartitionLag(NamedTuple):
    """How far the worker is behind in a partition that it owns.

    Attributes:
        records: that stand in it and are not settled.
        seconds: age of the oldest of them by its timestamp; while it has not been read, how long it is known to wait.
    """

    topic: str
    partition: int
    records: int
    seconds: float


class LastDeadLetter(NamedTuple):
    """The last dead letter of a class. `number` is how many there were since the start, `at` is in Unix time."""

    error_class: ErrorClass
    number: int
    at: float
    error_type: str
    code: int | None
    metric: str | None


class Rates(NamedTuple):
    """What was brought to an end each second, on average of the last `seconds`."""

    seconds: float = 0.0
    events: float = 0.0
    rows: float = 0.0
    dead_letters: float = 0.0


class Telemetry:
    """The worker's own measures, in a registry of their own so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        # What came in, and what became of it
        self.events = self._counter("events", "Records read as events.")
        self.tombstones = self._counter("tombstones", "Records without a value, skipped.")
        self.metrics = self._counter("metrics", "Metrics of events that came to one of their ends, skipped ones too.")
        self.rows = self._counter("rows_written", "Rows acknowledged by ClickHouse.")
        self.skipped = self._counter("metrics_skipped", "Metrics that are not numbers, by JSON type.", "json_type")
        self.dead_letters = self._counter(
            "dead_letters",
            "Dead letters acknowledged by Kafka, by kind and by the class that they stand under.",
            "kind",
            "error_class",
        )
        for kind, classes in _LETTERS.items():
            for error_class in classes:  # from 0, so that the first one is an increase
                self.dead_letters.labels(kind, error_class.value)

        # Inserts
        self.inserts = self._counter(
            "inserts",
            "INSERT statements by outcome (written, refused, too_large, unavailable, misconfigured, unclassified) and "
            "ClickHouse's code.",
            "outcome",
            "code",
        )
        self.insert_retries = self._counter(
            "insert_retries",
            "Those of the inserts that repeat one with the same rows and token; dropped: by a revoke or a stop.",
            "outcome",
            "code",
        )
        for counter in (self.inserts, self.insert_retries):
            counter.labels(OutcomeKind.WRITTEN.value, "")
        self.splits = self._counter(
            "splits", "Blocks cut into pieces: refused, too large, or failed with an unclassified code.", "reason"
        )
        for kind in (OutcomeKind.REFUSED, OutcomeKind.TOO_LARGE, OutcomeKind.UNCLASSIFIED):
            self.splits.labels(kind.value)
        self.not_isolated = self._counter(
            "rows_not_isolated",
            "Rows refused together with others, because to isolate each would have taken too many inserts; they are "
            "dead letters, and may be valid.",
        )
        self.constraint_questions = self._counter(
            "constraint_questions",
            "How often ClickHouse was asked which rows of a block violate a constraint: violated (some do), fulfilled "
            "(none does), unanswered.",
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
            "When an insert is repeated, how long ago the same rows were sent first: the deduplication window must "
            "reach so far back.",
            _AGES,
        )
        self.in_flight = UnansweredInserts()
        self.unanswered = UnansweredInserts()
        self._gauge(
            "unanswered_inserts", "Blocks sent at least once without an answer, to be sent again."
        ).set_function(lambda: len(self.unanswered))
        self._gauge(
            "oldest_unanswered_insert_seconds",
            "How long ago the oldest of the unanswered blocks was sent first, 0 without any. Times the rate of inserts "
            "into the table it says how full of newer inserts its deduplication window is.",
        ).set_function(self.unanswered.oldest_seconds)

        # Batches
        self.batch_seconds = self._histogram(
            "batch_seconds",
            "Duration of a batch from decoding to its last acknowledgement, by outcome: done, or dropped (on a revoke "
            "or a stop; it comes again).",
            _LONG_SECONDS,
            "outcome",
        )
        for outcome in ("done", "dropped"):
            self.batch_seconds.labels(outcome)
        self.batch_events = self._histogram("batch_events", "Records of each batch.", _SIZES)
        self.dead_letter_seconds = self._histogram(
            "dead_letter_put_seconds",
            "Duration of writing some dead letters until all are acknowledged, failed times included.",
            _LONG_SECONDS,
        )
        self.end_to_end = BulkHistogram(
            f"{_PREFIX}end_to_end_seconds",
            "From the timestamp of a record to the end of its batch, dead letters included.",
            _BEHIND_SECONDS,
            self.registry,
        )

        # Kafka
        self.commits = self._counter("commits", "Commits of offsets that Kafka acknowledged.")
        self.commit_failures = self._counter("commit_failures", "Commits of offsets that Kafka did not acknowledge.")
        self.rebalances = self._counter("rebalances", "Times that the group took the partitions away.")
        self.assigned = self._gauge("assigned_partitions", "Partitions that this worker owns now.")
        self._lag = _LagCollector(self.registry)

        # For people, who see no counters grow
        self._lately = RateMeter(Rates._fields[1:])
        self._last_letters: dict[ErrorClass, LastDeadLetter] = {}

        # The state of the worker
        self.holding = self._gauge("holding", "1 while consumption stands still, by cause.", "cause")
        self.progress = self._gauge(
            "last_progress_timestamp_seconds", "When the loop last made progress, idle or not (Unix time)."
        )
        self.last_batch = self._gauge(
            "last_batch_timestamp_seconds", "When a batch last came to its end (Unix time); 0 before the first."
        )
        self.build_info = self._gauge("build_info", "1; the labels say what is running.", "version", "python_version")
        ProcessCollector(
            registry=self.registry
        )  # process_start_time_seconds, _cpu_seconds_total, _resident_memory_bytes

    def set_sources(
        self, version: str, last_progress: Callable[[], float], lag: Callable[[], Iterable[PartitionLag]]
    ) -> None:
        """Name what is asked at each scrape.

        Args:
            version: of this program.
            last_progress: when the loop last made progress, as `time.monotonic` counts.
            lag: of each partition that is owned; called from another thread.
        """
        self.build_info.labels(version, python_version()).set(1)
        self.progress.set_function(lambda: time() - (monotonic() - last_progress()))
        self._lag.lag = lag

    def count_events(
        self, events: int, metrics: int, written: int, skipped: Mapping[str, int], tombstones: int
    ) -> None:
        """Count what has come to its end: events, the metrics in them, those that are rows, those that were skipped."""
        self.events.inc(events)
        self.metrics.inc(metrics)
        self.rows.inc(written)
        self.tombstones.inc(tombstones)
        for json_type, number in skipped.items():
            self.skipped.labels(json_type).inc(number)
        self._lately.add(events=events, rows=written)

    def count_dead_letters(self, letters: Iterable[tuple[Failed, ErrorClass]]) -> None:
        """Count dead letters that are acknowledged, each with the class that it stands under."""
        kinds: Counts[tuple[str, ErrorClass]] = Counts()
        last: dict[ErrorClass, Failed] = {}
        for item, error_class in letters:
            kinds["metric" if isinstance(item, FailedMetric) else "event", error_class] += 1
            last[error_class] = item
        for (kind, error_class), number in kinds.items():
            self.dead_letters.labels(kind, error_class.value).inc(number)
        for error_class, item in last.items():
            before = self._last_letters.get(error_class)
            number = (before.number if before else 0) + sum(n for (_, of), n in kinds.items() if of is error_class)
            metric = item.metric[:_LONGEST_NAME] if isinstance(item, FailedMetric) else None
            why = item.failure
            self._last_letters[error_class] = LastDeadLetter(
                error_class, number, time(), why.error_type, why.code, metric
            )
        self._lately.add(dead_letters=kinds.total())

    @property
    def last_dead_letters(self) -> list[LastDeadLetter]:
        """Of each class that there was a dead letter of, the last first."""
        return sorted(self._last_letters.copy().values(), key=lambda letter: -letter.at)

    @property
    def rates(self) -> Rates:
        """Of about the last minute, or since the start."""
        return Rates(*self._lately.per_second())

    @property
    def totals(self) -> Mapping[str, float]:
        """What was done since the start: events, rows, letters."""
        return dict(self._lately.totals)

    @contextmanager
    def measure_batch(self, records: Sequence[Record]) -> Iterator[None]:
        """Measure what happens inside: a batch being brought to its end."""
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

    def _counter(self, name: str, sentence: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}{name}", sentence, labels, registry=self.registry)

    def _gauge(self, name: str, sentence: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}{name}", sentence, labels, registry=self.registry)

    def _histogram(self, name: str, sentence: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}{name}", sentence, labels, buckets=buckets, registry=self.registry)


_LETTERS = {
    "event": (ErrorClass.INVALID_EVENT, ErrorClass.TOO_LARGE),
    "metric": (ErrorClass.INVALID_METRIC, ErrorClass.ROW_REFUSED, ErrorClass.STORE_UNAVAILABLE, ErrorClass.TOO_LARGE),
}
"""Which classes the dead letters of each kind have."""


class _LagCollector(Collector):
    """Asks for the lag when somebody scrapes, so that it costs nothing in between."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag: Callable[[], Iterable[PartitionLag]] = tuple
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        labels = ("topic", "partition")
        records = GaugeMetricFamily(
            f"{_PREFIX}lag_records", "Records of a partition owned here that are not settled.", labels=labels
        )
        seconds = GaugeMetricFamily(
            f"{_PREFIX}lag_seconds",
            "Age of the oldest record of a partition owned here that is not settled, 0 without any.",
            labels=labels,
        )
        for topic, partition, behind, age in self.lag():
            records.add_metric((topic, str(partition)), behind)
            seconds.add_metric((topic, str(partition)), age)
        yield from (records, seconds)
