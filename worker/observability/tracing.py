"""OpenTelemetry traces, for those who want them: `pip install execution-metrics-worker[tracing]`.

A producer's trace is named in the headers of its records (W3C Trace Context). A batch has records of many traces, so it
is no part of any: it is a trace of its own with a link to each.

    poll                                 what was taken from Kafka at once
    batch  (links to the producers)
    ├── write                            one block, with all its inserts
    └── dead-letter                      until all are acknowledged
    commit

Without them nothing of the library is loaded, and a span is one call that does nothing.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from worker.core.errors import SettingsError
from worker.core.model import Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link

_HEADER = "traceparent"
_MAX_LINKS = 128
"""OpenTelemetry's own limit; a batch may have thousands of records."""

Headers = Sequence[tuple[str, bytes | None]]


class Tracing(Protocol):
    """Where spans go."""

    def span(
        self, name: str, records: Iterable[Record] = (), **attributes: str | float
    ) -> AbstractContextManager[object]:
        """What happens inside is a span, a child of the one around it; `records` are linked by their headers."""

    def with_trace_context(self, headers: Headers) -> Headers:
        """`headers` of a record to be written; of a trace that is not in them already, with the span around this."""

    def close(self) -> None:
        """Send what is still here."""


class _Off:
    """No traces."""

    _NOTHING = nullcontext()

    def span(
        self,
        name: str,  # noqa: ARG002 - the port's signature
        records: Iterable[Record] = (),  # noqa: ARG002
        **attributes: str | float,  # noqa: ARG002
    ) -> AbstractContextManager[object]:
        return self._NOTHING

    def with_trace_context(self, headers: Headers) -> Headers:
        return headers

    def close(self) -> None:
        pass


OFF: Tracing = _Off()


def tracing(*, enabled: bool, version: str) -> Tracing:
    """Traces to where the standard variables `OTEL_EXPORTER_OTLP_…` say, or none.

    Raises:
        SettingsError: OpenTelemetry is not installed.
    """
    if not enabled:
        return OFF
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            "TRACING_ENABLED=true needs OpenTelemetry: pip install 'execution-metrics-worker[tracing]', "
            "or set TRACING_ENABLED=false"
        ) from error
    named = Resource.create({SERVICE_NAME: "metrics-worker", SERVICE_VERSION: version})
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetry(provider)


class OpenTelemetry:
    """Spans to a provider of OpenTelemetry.

    Args:
        provider: what makes them; it is shut down with this.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("metrics-worker")
        self._w3c = TraceContextTextMapPropagator()

    def span(
        self, name: str, records: Iterable[Record] = (), **attributes: str | float
    ) -> AbstractContextManager[object]:
        """See `Tracing`."""
        return self._tracer.start_as_current_span(name, links=self._links(records), attributes=attributes)

    def with_trace_context(self, headers: Headers) -> Headers:
        """See `Tracing`."""
        if any(name == _HEADER for name, _ in headers):
            return headers
        carrier: dict[str, str] = {}
        self._w3c.inject(carrier)
        # In front: what follows `dlq.kind` is the worker's, what comes before it belongs to the record.
        return [*((name, value.encode()) for name, value in carrier.items()), *headers]

    def close(self) -> None:
        """See `Tracing`."""
        self._provider.shutdown()

    def _links(self, records: Iterable[Record]) -> list["Link"]:
        from opentelemetry.trace import Link, get_current_span

        seen: dict[bytes, Link] = {}
        for record in records:
            for name, value in record.headers:
                if name == _HEADER and value is not None and value not in seen:
                    context = get_current_span(self._w3c.extract({_HEADER: value.decode("ascii", "replace")}))
                    if (linked := context.get_span_context()).is_valid:
                        seen[value] = Link(linked)
            if len(seen) >= _MAX_LINKS:
                break
        return list(seen.values())
