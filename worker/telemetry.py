"""What the program measures about itself. Every name is declared here, once, with a sentence."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Telemetry:
    """The worker's own measures, in a registry of their own so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = self._counter("events", "Records read as events.")
        self.tombstones = self._counter("tombstones", "Records without a value, skipped.")
        self.rows = self._counter("rows_written", "Rows acknowledged by ClickHouse.")
        self.skipped = self._counter("metrics_skipped", "Metrics that are not numbers, by JSON type.", "json_type")
        self.dead_letters = self._counter(
            "dead_letters",
            "Dead letters acknowledged by Kafka, by kind and class of the failure (before it is found too large).",
            "kind",
            "error_class",
        )
        self.inserts = self._counter(
            "inserts",
            "INSERT statements by outcome (ok, or the class of error) and ClickHouse's code.",
            "outcome",
            "code",
        )
        self.insert_seconds = Histogram(
            "metrics_worker_insert_seconds",
            "Duration of INSERT statements, failed ones included.",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.commit_failures = self._counter("commit_failures", "Commits of offsets that Kafka did not acknowledge.")
        self.rebalances = self._counter("rebalances", "Times that the group took the partitions away.")
        self.holding = Gauge(
            "metrics_worker_holding", "1 while consumption stands still, by cause.", ["cause"], registry=self.registry
        )

    def _counter(self, name: str, sentence: str, *labels: str) -> Counter:
        return Counter(f"metrics_worker_{name}", sentence, labels, registry=self.registry)
