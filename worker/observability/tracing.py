"""Optional OpenTelemetry traces: `pip install execution-metrics-worker[opentelemetry]`.

The headers of a record name its producer's trace (W3C Trace Context). A batch has records of many traces, so it is a
trace of its own, with a link to each of them.

    poll                                 one poll of Kafka
    batch  (links to the producers)
    ├── write                            one block, with all its inserts
    └── dead-letter                      until all dead letters are acknowledged
    commit

While tracing is off, the library is not imported and a span is one call that does nothing.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from worker.core.errors import SettingsError
from worker.core.model import Headers, Record
from worker.observability.otlp_session import create_session

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link

_HEADER = "traceparent"
_MAX_LINKS = 128
"""OpenTelemetry's own limit; a batch may have thousands of records."""


class Tracing(Protocol):
    """Creates spans."""

    def span(
        self, name: str, records: Iterable[Record] = (), **attributes: str | float
    ) -> AbstractContextManager[object]:
        """A span around a block of code, a child of the current span, with links to the traces of `records`."""

    def with_trace_context(self, headers: Headers) -> Headers:
        """`headers` for a new record; if they name no trace, with the current span added."""

    def close(self) -> None:
        """Send the remaining spans."""


class _NoTracing:
    """Creates no spans."""

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


NO_TRACING: Tracing = _NoTracing()


def create_tracing(*, enabled: bool, version: str) -> Tracing:
    """Tracing to the destination that the standard variables `OTEL_EXPORTER_OTLP_…` name, or none.

    Raises SettingsError if OpenTelemetry is not installed.
    """
    if not enabled:
        return NO_TRACING
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            "TRACING_ENABLED=true needs OpenTelemetry: pip install 'execution-metrics-worker[opentelemetry]', "
            "or set TRACING_ENABLED=false"
        ) from error
    resource = Resource.create({SERVICE_NAME: "metrics-worker", SERVICE_VERSION: version})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=create_session())))
    return OpenTelemetryTracing(provider)


class OpenTelemetryTracing:
    """Creates spans with OpenTelemetry; `close` shuts `provider` down."""

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
        # At the front: headers before `dlq.kind` belong to the source record, those after it to the worker.
        return [*((name, value.encode()) for name, value in carrier.items()), *headers]

    def close(self) -> None:
        """See `Tracing`."""
        self._provider.shutdown()

    def _links(self, records: Iterable[Record]) -> list["Link"]:
        from opentelemetry.trace import Link, get_current_span

        links: dict[bytes, Link] = {}
        for record in records:
            for name, value in record.headers:
                if name == _HEADER and value is not None and value not in links:
                    context = get_current_span(self._w3c.extract({_HEADER: value.decode("ascii", "replace")}))
                    if (linked := context.get_span_context()).is_valid:
                        links[value] = Link(linked)
            if len(links) >= _MAX_LINKS:
                break
        return list(links.values())
