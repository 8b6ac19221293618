"""Prometheus' metrics as OpenTelemetry's.

The rules are those of OpenTelemetry's specification, *Prometheus and OpenMetrics Compatibility*. Names stay as they are
at `/metrics`, with `_total`, so that one dashboard fits both. Needs the extra `opentelemetry`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from math import isnan
from typing import TYPE_CHECKING, NamedTuple, cast

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

_NANOSECONDS = 1_000_000_000
_UNSET = cast("float", None)
"""Minimum and maximum are optional in the protocol, although not in the types of the library."""


class Times(NamedTuple):
    """When counting began, unless the metric knows it, and when the metrics were read; Unix time in nanoseconds."""

    started: int
    read: int


def convert(families: Iterable[Family], resource: Resource, version: str, times: Times) -> MetricsData:
    """What a registry of Prometheus collected.

    A gauge that is NaN, which means *not known*, is left out: many backends refuse it.
    """
    scope = InstrumentationScope("metrics-worker", version)
    metrics = [metric for family in families if (metric := _convert_family(family, times)).data.data_points]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")])


def _convert_family(family: Family, times: Times) -> Metric:
    match family.type:
        case "counter":
            points = list(_convert_numbers(family, f"{family.name}_total", times))
            data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
            return Metric(f"{family.name}_total", family.documentation, "", data)
        case "gauge":
            gauge = Gauge(list(_convert_numbers(family, family.name, times)))
            return Metric(family.name, family.documentation, "", gauge)
        case "histogram":
            histogram = Histogram(list(_convert_histograms(family, times)), AggregationTemporality.CUMULATIVE)
            return Metric(family.name, family.documentation, "", histogram)
    raise ValueError(f"{family.name}: no rule for metrics of type {family.type}")


def _convert_numbers(family: Family, name: str, times: Times) -> Iterator[NumberDataPoint]:
    started = _find_starts(family)
    for sample in family.samples:
        if sample.name == name and not isnan(sample.value):
            start = started.get(_labels_key(sample.labels), times.started)
            yield NumberDataPoint(sample.labels, start, times.read, sample.value)


def _convert_histograms(family: Family, times: Times) -> Iterator[HistogramDataPoint]:
    """A point for each combination of labels, whose buckets Prometheus counts from 0 up to each bound."""
    started = _find_starts(family)
    buckets: defaultdict[tuple[tuple[str, str], ...], list[Sample]] = defaultdict(list)
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        if sample.name == f"{family.name}_bucket":
            buckets[_labels_key(sample.labels, without="le")].append(sample)
        elif sample.name == f"{family.name}_sum":
            sums[_labels_key(sample.labels)] = sample.value
    for key, samples in buckets.items():
        cumulative = [int(sample.value) for sample in samples]
        yield HistogramDataPoint(
            dict(key),
            started.get(key, times.started),
            times.read,
            count=cumulative[-1],
            sum=sums[key],
            bucket_counts=[upper - lower for upper, lower in zip(cumulative, [0, *cumulative], strict=False)],
            explicit_bounds=[float(sample.labels["le"]) for sample in samples[:-1]],  # the last one is +Inf
            min=_UNSET,
            max=_UNSET,
        )


def _find_starts(family: Family) -> dict[tuple[tuple[str, str], ...], int]:
    """Since when each combination of labels is counted, where the client library knows it."""
    return {
        _labels_key(sample.labels): int(sample.value * _NANOSECONDS)
        for sample in family.samples
        if sample.name == f"{family.name}_created"
    }


def _labels_key(labels: Mapping[str, str], without: str = "") -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in labels.items() if name != without)
