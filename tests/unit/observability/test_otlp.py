"""The metrics of `/metrics` by OTLP: every one, with the same numbers."""

from collections.abc import Iterator
from itertools import accumulate
from threading import Event

import pytest
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric, UnknownMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.core.errors import SettingsError
from worker.observability.otlp import MetricsPush, start_metrics_push
from worker.observability.otlp_conversion import Times, convert
from worker.observability.telemetry import Telemetry

NOW = Times(started=1_000, read=2_000)
Key = tuple[str, frozenset[tuple[str, str]]]


def busy_telemetry() -> Telemetry:
    """Every declared metric, some with values."""
    telemetry = Telemetry()
    telemetry.set_sources("1.2.3", lambda: 0.0, lambda: ())
    telemetry.start_counters_of("events", 3)
    telemetry.count_events(5, 50, 48, 1)
    telemetry.count_skipped({"string": 4}, {"too_long": 1}, {})
    telemetry.state.holding.labels("store").set(1)
    telemetry.batches.end_to_end.observe_all([0.2, 4.0, 90_000.0])
    for seconds in (0.001, 0.3, 400):
        telemetry.inserts.seconds.observe(seconds)
        telemetry.batches.seconds.labels("done").observe(seconds)
    return telemetry


def prometheus_numbers(registry: CollectorRegistry) -> dict[Key, float]:
    """What a scrape has: each sample but NaN, and when counting began."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith("_created") and sample.value == sample.value
    }


def otlp_numbers(data: MetricsData) -> Iterator[tuple[Key, float]]:
    """The same of an export, as a backend of Prometheus would store it."""
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            labels = {name: str(value) for name, value in (point.attributes or {}).items()}
            key = frozenset(labels.items())
            if isinstance(point, NumberDataPoint):
                yield (metric.name, key), point.value
                continue
            assert isinstance(point, HistogramDataPoint)
            yield (f"{metric.name}_count", key), point.count
            yield (f"{metric.name}_sum", key), point.sum
            bounds = [*(str(float(bound)) for bound in point.explicit_bounds), "+Inf"]
            for bound, below in zip(bounds, accumulate(point.bucket_counts), strict=True):
                yield (f"{metric.name}_bucket", key | {("le", bound)}), below


def test_export_has_every_metric_of_a_scrape_with_its_number() -> None:
    registry = busy_telemetry().registry
    scraped = prometheus_numbers(registry)
    exported = dict(otlp_numbers(convert(registry.collect(), Resource({}), "1.2.3", NOW)))
    moving = {key for key in scraped if key[0].startswith(("process_", "metrics_worker_last_progress"))}
    assert exported.keys() == scraped.keys()
    assert {key: exported[key] for key in scraped.keys() - moving} == {
        key: scraped[key] for key in scraped.keys() - moving
    }
    assert exported["metrics_worker_rows_written_total", frozenset()] == 48


def test_counters_are_cumulative_since_they_were_created() -> None:
    telemetry = Telemetry()
    telemetry.count_events(5, 50, 48, 1)
    data = convert(telemetry.registry.collect(), Resource({"service.name": "w"}), "1.2.3", NOW)
    metrics = {metric.name: metric.data for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    counter = metrics["metrics_worker_events_total"]
    assert isinstance(counter, Sum)
    assert counter.is_monotonic
    assert counter.aggregation_temporality == 2  # cumulative, by the number of the protocol
    (point,) = counter.data_points
    assert point.start_time_unix_nano > 1_600_000_000 * 10**9
    assert point.time_unix_nano == NOW.read
    by_itself = metrics["metrics_worker_end_to_end_seconds"]  # a collector of ours, which knows no beginning
    assert [point.start_time_unix_nano for point in by_itself.data_points] == [NOW.started]
    assert "metrics_worker_roll_up_failing" not in metrics  # NaN


def test_metric_of_another_type_is_an_error_and_not_left_out() -> None:
    families: list[Metric] = [UnknownMetricFamily("new", "x", 1.0)]
    with pytest.raises(ValueError, match="new: no rule for metrics of type unknown"):
        convert(families, Resource({}), "1", NOW)


class MemoryExporter(MetricExporter):
    """Keeps what is exported; the first export fails in a way that no library should."""

    def __init__(self) -> None:
        super().__init__()
        self.exported: list[MetricsData] = []
        self.again = Event()
        self.closed = False

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: object) -> MetricExportResult:  # noqa: ARG002
        self.exported.append(metrics_data)
        if len(self.exported) == 1:
            raise RuntimeError("broken")
        self.again.set()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:  # noqa: ARG002
        return True

    def shutdown(self, timeout_millis: float = 0, **_: object) -> None:  # noqa: ARG002
        self.closed = True


def test_push_survives_an_error_and_exports_once_more_when_it_is_closed() -> None:
    exporter, empty = MemoryExporter(), MetricsData([])
    push = MetricsPush(exporter, lambda: empty, interval=0.001)
    assert exporter.again.wait(10)
    before = len(exporter.exported)
    push.close()
    assert len(exporter.exported) > before
    assert exporter.closed


@pytest.mark.parametrize("interval", ["0", "-1", "1.5", "soon", "9" * 20, "9" * 5000])
def test_interval_that_is_no_positive_number_is_refused_by_its_name(
    interval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", interval)
    with pytest.raises(SettingsError, match="OTEL_METRIC_EXPORT_INTERVAL"):
        start_metrics_push(CollectorRegistry(), enabled=True, version="1", instance="w-0")


def test_push_that_is_off_is_none() -> None:
    assert start_metrics_push(CollectorRegistry(), enabled=False, version="1", instance="w-0") is None
