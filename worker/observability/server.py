"""Health, telemetry and the status page over HTTP, in threads: they answer even while the event loop is blocked.

/         the status page, if there is one
/livez    200 while the event loop makes progress; it does not depend on Kafka or ClickHouse
/readyz   200 while the process does its work, else 503 with the reasons as JSON
/metrics  Prometheus

Only GET and HEAD are answered: no request changes any state.
"""

import json
import socket
from collections.abc import Callable, Iterable, Mapping
from socket import AF_INET, AF_INET6
from threading import Thread
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, make_wsgi_app
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from worker.core.errors import SettingsError
from worker.observability.page import HEADERS
from worker.observability.status import MAX_SILENCE_SECONDS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_THREADS = 2
_MAX_CONNECTIONS = 200
_CONNECTION_SECONDS = 10.0
"""How long a connection may last in total."""
_MAX_REQUEST_BYTES = 16_384
_NO_STORE = ("Cache-Control", "no-store")


class Health(Protocol):
    """What the probes report; `worker.observability.status.Status` has it."""

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why the process is not ready, by cause; empty while it is."""

    @property
    def silence_seconds(self) -> float:
        """Time since the event loop last made progress."""

    @property
    def notice(self) -> str | None:
        """What an operator must know, whatever the state."""


H = TypeVar("H", bound=Health)


class _HealthApp(Generic[H]):
    """The WSGI application."""

    def __init__(
        self, health: Callable[[], H], registry: CollectorRegistry, render_page: Callable[[H], str] | None
    ) -> None:
        self._health = health
        self._render_page = render_page
        self._metrics = make_wsgi_app(registry)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text(start_response, "405 Method Not Allowed", "only GET and HEAD\n", ("Allow", "GET, HEAD"))
        body = self._answer(environ, start_response)
        return body if environ["REQUEST_METHOD"] == "GET" else []

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ.get("PATH_INFO", "/"):
            case "/" | "" if self._render_page is not None:
                start_response("200 OK", [*HEADERS, _NO_STORE])
                return [self._render_page(self._health()).encode()]
            case "/metrics":
                answer: Iterable[bytes] = self._metrics(environ, start_response)
                return answer
            case "/livez":
                silence = self._health().silence_seconds
                body = {"seconds_since_progress": round(silence, 1)}
                return _json(start_response, silence < MAX_SILENCE_SECONDS, body)
            case "/readyz":
                health = self._health()
                reasons = dict(health.reasons)
                notice = {"notice": health.notice} if health.notice else {}
                return _json(start_response, not reasons, {"ready": not reasons, "reasons": reasons} | notice)
            case _:
                return _text(start_response, "404 Not Found", "/ /livez /readyz /metrics\n")


class HealthServer:
    """Answers until `close`; `port` is its actual port, also if it was given as 0.

    `health` is called from other threads, and so is `render_page`, which makes the page of what `health` returns.

    Raises SettingsError if it cannot listen on the address.
    """

    def __init__(
        self,
        health: Callable[[], H],
        registry: CollectorRegistry,
        host: str,
        port: int,
        render_page: Callable[[H], str] | None = None,
    ) -> None:
        try:
            listening = socket.create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on HTTP_HOST={host} HTTP_PORT={port}: {error.strerror}; "
                "choose an address of this machine and a port that is free"
            ) from error
        options = Adjustments(
            sockets=[listening],
            threads=_THREADS,
            connection_limit=_MAX_CONNECTIONS,
            cleanup_interval=1,
            asyncore_use_poll=True,  # select() cannot watch the descriptors above 1,023
            max_request_header_size=_MAX_REQUEST_BYTES,
            max_request_body_size=_MAX_REQUEST_BYTES,
            ident=None,
        )
        self._server = _Server(
            _HealthApp(health, registry, render_page),
            adj=options,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            _sock=listening,
            bind_socket=False,
        )
        self.port = int(self._server.effective_port)
        self._thread = Thread(target=self._server.run, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        trigger = self._server.trigger
        with trigger.lock:  # else the thread may close the trigger before it is pulled, for an answer that is ready
            trigger.thunks.append(self._server.close_all)
            trigger.pull_trigger()
        self._thread.join()
        self._server.task_dispatcher.shutdown(timeout=1)


class _Server(TcpWSGIServer):  # type: ignore[misc]  # waitress ships no types
    """One thread reads all requests, so that a slow client costs a socket, and no thread."""

    def maintenance(self, now: float) -> None:
        """Close each connection after a total time, whatever it does: waitress closes only those that send nothing.

        While there are too many, the time is a second: probes and scrapes take milliseconds.
        """
        seconds = _CONNECTION_SECONDS if len(self.active_channels) < _MAX_CONNECTIONS // 2 else 1.0
        for channel in self.active_channels.values():
            if channel.creation_time < now - seconds:
                channel.will_close = True

    def close_all(self) -> None:
        """Close all sockets, which ends `run`; it is called in the thread of `run`."""
        wasyncore.close_all(self._map)


def _json(start_response: "StartResponse", ok: bool, body: Mapping[str, object]) -> Iterable[bytes]:
    status = "200 OK" if ok else "503 Service Unavailable"
    start_response(status, [("Content-Type", "application/json"), _NO_STORE])
    return [json.dumps(body).encode() + b"\n"]


def _text(start_response: "StartResponse", status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [text.encode()]
