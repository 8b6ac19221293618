"""Health and telemetry over HTTP, from a thread of its own: it answers even when the event loop does not.

/livez    200 while the loop makes progress; never asks a dependency
/readyz   200 while work flows, 503 with the reasons as JSON while it does not
/metrics  Prometheus
"""

import json
from collections.abc import Callable, Iterable, Mapping
from socket import AF_INET6
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from worker.errors import SettingsError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

MAX_SILENCE_SECONDS = 60.0
"""Longest time without progress of the loop before the process counts as stuck."""


class Health:
    """Serves the state of the worker.

    Args:
        silence: seconds since the loop last made progress.
        reasons: why no work flows, by cause; empty when it does.
        registry: what `/metrics` shows.
    """

    def __init__(
        self, silence: Callable[[], float], reasons: Callable[[], Mapping[str, str]], registry: CollectorRegistry
    ) -> None:
        self._silence = silence
        self._reasons = reasons
        self._metrics = make_wsgi_app(registry)

    def serve(self, host: str, port: int) -> "HealthServer":
        """Listen; port 0 takes any that is free.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        try:
            return HealthServer(self, host, port)
        except OSError as error:
            raise SettingsError(
                f"HTTP_HOST={host} HTTP_PORT={port} cannot be listened on: {error.strerror}; "
                "choose an address of this machine and a port that is free"
            ) from error

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        if path == "/livez":
            silence = self._silence()
            return _json(start_response, silence < MAX_SILENCE_SECONDS, {"seconds_since_progress": round(silence, 1)})
        if path == "/readyz":
            reasons = dict(self._reasons())
            return _json(start_response, not reasons, {"ready": not reasons, "reasons": reasons})
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"/livez /readyz /metrics\n"]


class HealthServer:
    """A listening server; `port` is the one it got."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        server = _ServerV6 if ":" in host else ThreadingWSGIServer
        self._server = make_server(host, port, health, server, handler_class=_Quiet)
        self.port: int = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _ServerV6(ThreadingWSGIServer):
    address_family = AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # the signature of the base class
        """Probes come every few seconds; they are not news."""


def _json(start_response: "StartResponse", well: bool, body: Mapping[str, object]) -> Iterable[bytes]:
    status = "200 OK" if well else "503 Service Unavailable"
    start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [json.dumps(body).encode() + b"\n"]
