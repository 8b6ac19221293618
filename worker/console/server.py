"""Serves the console over HTTP until SIGTERM or Ctrl-C."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET, AF_INET6

from starlette.types import ASGIApp
from uvicorn import Config, Server

from worker.core.errors import SettingsError
from worker.core.network import is_loopback

_MAX_CONNECTIONS = 100
_IDLE_SECONDS = 10
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


class _Server(Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The command handles the signals."""
        yield


async def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until this is cancelled; the answers that were begun have a moment to end."""
    config = Config(
        app,
        http="h11",
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
