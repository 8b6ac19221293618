"""The metrics of `/metrics`, pushed by OTLP: `pip install execution-metrics-worker[opentelemetry]`.

What Prometheus would scrape is converted and sent, so a metric is declared once and cannot differ. While this is off,
the library is not imported.
"""

from collections.abc import Callable
from os import environ
from threading import Event, Thread
from time import time_ns
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry

from worker.core.errors import SettingsError
from worker.observability.otlp_session import create_session

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData

log = structlog.get_logger(__name__)

_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
_DEFAULT_INTERVAL_MS = "60000"
"""As OpenTelemetry's specification has it."""
_INTERVAL_DIGITS = 9
"""Eleven days; a thread cannot wait for every number."""
_LAST_EXPORT_SECONDS = 3.0
"""How long a stop waits for the last export; the library would wait 10 s for a collector that hangs."""


class MetricsPush:
    """Sends metrics every `interval` seconds from a thread of its own, until `close`."""

    def __init__(self, exporter: "MetricExporter", read: Callable[[], "MetricsData"], interval: float) -> None:
        self._exporter = exporter
        self._read = read
        self._interval = interval
        self._stop = Event()
        self._thread = Thread(target=self._run, name="otlp metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send the metrics once more, and stop; waits for at most three seconds."""
        self._stop.set()
        self._thread.join(_LAST_EXPORT_SECONDS)
        if self._thread.is_alive():
            log.warning("the last metrics were not exported in time", seconds=_LAST_EXPORT_SECONDS)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(self._interval)
            try:
                self._exporter.export(self._read())  # it logs itself what a collector refuses
            except Exception:
                log.warning("metrics were not exported", exc_info=True)
        self._exporter.shutdown()


def start_metrics_push(
    registry: CollectorRegistry, *, enabled: bool, version: str, instance: str
) -> MetricsPush | None:
    """Begin to send the metrics of `registry`, if `enabled`; `instance` names this process among others.

    The standard variables `OTEL_EXPORTER_OTLP_…` name the destination, and `OTEL_METRIC_EXPORT_INTERVAL` the interval.

    Raises SettingsError if OpenTelemetry is not installed, or the interval is no positive number.
    """
    if not enabled:
        return None
    interval = _read_interval()
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource

        from worker.observability.otlp_conversion import Times, convert
    except ImportError as error:
        raise SettingsError(
            "OTLP_METRICS_ENABLED=true needs OpenTelemetry: pip install "
            "'execution-metrics-worker[opentelemetry]', or set OTLP_METRICS_ENABLED=false"
        ) from error
    resource = Resource.create(
        {SERVICE_NAME: "metrics-worker", SERVICE_VERSION: version, SERVICE_INSTANCE_ID: instance}
    )
    started = time_ns()
    return MetricsPush(
        OTLPMetricExporter(session=create_session()),
        lambda: convert(registry.collect(), resource, version, Times(started, time_ns())),
        interval,
    )


def _read_interval() -> float:
    """Seconds between two exports."""
    text = environ.get(_INTERVAL) or _DEFAULT_INTERVAL_MS
    if not text.isascii() or not text.isdecimal() or len(text) > _INTERVAL_DIGITS or int(text) == 0:
        raise SettingsError(f"{_INTERVAL}={text!a}: must be a positive number of milliseconds, of at most nine digits")
    return int(text) / 1000
