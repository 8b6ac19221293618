"""A real endpoint that answers a redirect: an export fails and says so, instead of losing its data silently."""

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry

from worker.observability.otlp import start_metrics_push
from worker.observability.tracing import create_tracing


class Endpoint(ThreadingHTTPServer):
    """Answers every POST with `status`, and counts its requests."""

    status = 200
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Location", "/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with Endpoint(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


def push_metrics() -> None:
    push = start_metrics_push(CollectorRegistry(), enabled=True, version="1", instance="w-0")
    assert push is not None
    push.close()


def export_span() -> None:
    tracing = create_tracing(enabled=True, version="1")
    with tracing.span("batch", []):
        pass
    tracing.close()


@pytest.mark.parametrize("export", [push_metrics, export_span])
@pytest.mark.parametrize(("status", "warnings"), [(200, 0), (302, 1), (304, 1), (307, 1)])
def test_redirect_is_logged_as_a_failed_export(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, export: object, status: int, warnings: int
) -> None:
    endpoint.status = status
    assert callable(export)
    export()
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert endpoint.requests == 1
    assert len(logged) == warnings
    assert all(f"HTTP status {status}, a redirect" in message for message in logged)


def test_session_of_the_operator_is_used(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> None:
    """Such as one that signs its requests; here a name that OpenTelemetry does not find."""
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "missing")
    with pytest.raises(RuntimeError, match="missing"):
        push_metrics()
    assert endpoint.requests == 0
