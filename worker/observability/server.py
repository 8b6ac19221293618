"""Health, telemetry and the status page over HTTP, in threads: they answer even while the event loop is blocked.

/         the status page
/livez    200 while the event loop makes progress; it does not depend on Kafka or ClickHouse
/readyz   200 while events are processed, else 503 with the reasons as JSON
/metrics  Prometheus

Only GET and HEAD are answered: no request changes any state.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from socket import AF_INET6
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from worker.core.errors import SettingsError
from worker.observability.page import HEADERS, render_page
from worker.observability.status import MAX_SILENCE_SECONDS, Status

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = structlog.get_logger(__name__)

_REQUEST_SECONDS = 10.0
"""A connection without a complete request is closed after this, so that idle ones do not accumulate."""
_NO_STORE = ("Cache-Control", "no-store")


class _HealthApp:
    """The WSGI application."""

    def __init__(self, status: Callable[[], Status], registry: CollectorRegistry) -> None:
        self._status = status
        self._metrics = make_wsgi_app(registry)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text(start_response, "405 Method Not Allowed", "only GET and HEAD\n", ("Allow", "GET, HEAD"))
        body = self._answer(environ, start_response)
        return body if environ["REQUEST_METHOD"] == "GET" else []

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ.get("PATH_INFO", "/"):
            case "/" | "":
                start_response("200 OK", [*HEADERS, _NO_STORE])
                return [render_page(self._status()).encode()]
            case "/metrics":
                answer: Iterable[bytes] = self._metrics(environ, start_response)
                return answer
            case "/livez":
                silence = self._status().silence_seconds
                body = {"seconds_since_progress": round(silence, 1)}
                return _json(start_response, silence < MAX_SILENCE_SECONDS, body)
            case "/readyz":
                reasons = dict(self._status().reasons)
                return _json(start_response, not reasons, {"ready": not reasons, "reasons": reasons})
            case _:
                return _text(start_response, "404 Not Found", "/ /livez /readyz /metrics\n")


class HealthServer:
    """Answers until `close`; `port` is its actual port, also if it was given as 0.

    `status` is called from other threads.

    Raises:
        SettingsError: it cannot listen on the address.
    """

    def __init__(self, status: Callable[[], Status], registry: CollectorRegistry, host: str, port: int) -> None:
        server = _ServerV6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, _HealthApp(status, registry), server, handler_class=_QuietHandler)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on HTTP_HOST={host} HTTP_PORT={port}: {error.strerror}; "
                "choose an address of this machine and a port that is free"
            ) from error
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingWSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002  # the signature of the base class
        """Log errors; ignore clients that disconnect or, as browsers do, connect without a request."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("a request failed", client=str(client_address), exc_info=error)


class _ServerV6(_Server):
    address_family = AF_INET6


class _QuietHandler(WSGIRequestHandler):
    timeout = _REQUEST_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # the signature of the base class
        """Log no requests: probes come every few seconds."""


def _json(start_response: "StartResponse", ok: bool, body: Mapping[str, object]) -> Iterable[bytes]:
    status = "200 OK" if ok else "503 Service Unavailable"
    start_response(status, [("Content-Type", "application/json"), _NO_STORE])
    return [json.dumps(body).encode() + b"\n"]


def _text(start_response: "StartResponse", status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [text.encode()]
