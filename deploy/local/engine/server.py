"""Accepts clients on loopback, with one thread for each."""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING

from deploy.local.engine.session import Credentials, Session

if TYPE_CHECKING:
    import ssl

    from deploy.local.engine.engine import Engine

LOOPBACK = "127.0.0.1"
CLOSE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Server:
    """Listens on a port as soon as it is created; `start` accepts clients."""

    def __init__(
        self, engine: Engine, credentials: Credentials, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._engine = engine
        self._credentials = credentials
        self._tls = tls
        self._listener = socket.create_server((LOOPBACK, port), backlog=128)
        self._lock = threading.Lock()
        self._clients: dict[threading.Thread, socket.socket] = {}
        self._acceptor = threading.Thread(target=self._accept, name="accept", daemon=True)

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Accept clients in the background."""
        self._acceptor.start()

    def stop(self) -> bool:
        """Disconnect every client and wait 5 s for running queries; return whether all have ended."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(CLOSE_SECONDS)
        with self._lock:
            clients = dict(self._clients)
        for client in clients.values():
            _disconnect(client)
        for thread in clients:
            thread.join(CLOSE_SECONDS)
        return not any(thread.is_alive() for thread in clients)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # stop() has closed the listener
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(client,), name="client", daemon=True)
            with self._lock:
                self._clients[thread] = client
            thread.start()

    def _wrap_tls(self, client: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        client.settimeout(CLOSE_SECONDS)  # of the handshake, for clients that send nothing
        secured = tls.wrap_socket(client, server_side=True)
        secured.settimeout(None)
        with self._lock:
            self._clients[threading.current_thread()] = secured
        return secured

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._wrap_tls(client, self._tls)
            with client:
                Session(client, self._engine, self._credentials).run()
        except (EOFError, OSError) as error:
            logger.warning("a client has disconnected: %s", error)
        except Exception:  # other clients must not be affected
            logger.exception("a session failed")
        finally:
            with self._lock:
                del self._clients[threading.current_thread()]


def _disconnect(client: socket.socket) -> None:
    try:
        client.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        logger.debug("already closed: %s", error)
