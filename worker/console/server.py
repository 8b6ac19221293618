"""Serves the console over HTTP until SIGTERM or Ctrl-C."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET, AF_INET6

import h11
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from worker.core.errors import SettingsError
from worker.core.network import is_loopback

_MAX_CONNECTIONS = 100
"""While there are more, requests are answered with 503; at twice as many a connection is closed at once."""
_MAX_HEAD_BYTES = 65_536
"""Of a request: an address can have an expression and a reason, and a proxy can add a long list of groups."""
_IDLE_SECONDS = 10
_REQUEST_SECONDS = 10
_STOP_SECONDS = 3


def listen(host: str, port: int, *, knows_users: bool = False) -> socket.socket:
    """A listening socket.

    Raises SettingsError if the host is not loopback although the console does not know its users, or the port is taken.
    """
    if not knows_users and not is_loopback(host):
        raise SettingsError(
            f"CONSOLE_HOST={host} is not loopback, and the console does not know its users: anybody who reaches it "
            "would read all dead letters; set CONSOLE_OIDC_ISSUER or CONSOLE_PROXY_USER_HEADER, or leave CONSOLE_HOST "
            "unset, and reach the console through a tunnel (ssh -L, kubectl port-forward)"
        )
    try:
        return socket.create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on CONSOLE_HOST={host} CONSOLE_PORT={port}: {error.strerror}; choose a port that is free"
        ) from error


class _Protocol(H11Protocol):
    """A connection whose requests must arrive in time; uvicorn waits for them without end.

    So a few silent clients would keep all others out, and also the probes.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        if len(self.connections) > 2 * _MAX_CONNECTIONS:
            transport.abort()
        self._await_request()

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:  # the first bytes of a request
            self._await_request()
        super().data_received(data)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(_REQUEST_SECONDS, self._close_incomplete)

    def _close_incomplete(self) -> None:
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self.transport.abort()


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The command handles the signals."""
        yield


async def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until this is cancelled; the answers that were begun have a moment to end."""
    config = Config(
        app,
        http=_Protocol,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
