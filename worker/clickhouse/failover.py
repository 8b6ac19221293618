"""The driver's connection, extended to use the next server where one cannot be reached or does not answer.

The driver's `alt_hosts` are not sufficient (clickhouse-driver 0.2.11, `Connection.connect`):
- for the greeting of a server that accepts connections and is silent it waits until `send_receive_timeout`;
- a server that closes the connection at once, or refuses the user, ends the attempt;
- each address of a name costs a time-out on each attempt;
- it stays with the second server for ever.
"""

import socket
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import structlog
from clickhouse_driver import errors as driver
from clickhouse_driver.connection import Connection
from clickhouse_driver.errors import ServerException
from clickhouse_driver.reader import read_binary_bytes, read_binary_int32, read_binary_uint8

from worker.clickhouse.errors import classify
from worker.clickhouse.servers import RecentFailures, Server
from worker.core.deadline import shut_down_after
from worker.core.errors import StoreError
from worker.core.outcome import Outcome, OutcomeKind

log = structlog.get_logger(__name__)


class _Failure(NamedTuple):
    """Why a server cannot be used."""

    server: Server
    error: Exception
    outcome: Outcome


class FailoverConnection(Connection):  # type: ignore[misc]  # the driver ships no types
    """A connection to the first of `servers` that can be used.

    It also reads exceptions whose text is not UTF-8: ClickHouse cuts the values that it quotes at a byte. The driver
    would lose the code with the text, so that an invalid row would look like a broken connection.

    Attributes:
        servers: in order of preference.
        failures: of all connections of the process.
        server: the connected one; None before.
    """

    servers: Sequence[Server]
    failures: RecentFailures
    server: Server | None = None

    def connect(self) -> None:
        """Connect to the first server that can be used; overrides the driver's method.

        Raises the driver's error if there is one server, and a StoreError that names each if there are several.
        """
        if self.connected:
            self.disconnect()
        failed: list[_Failure] = []
        last = self.server
        for server in self.failures.order(self.servers):
            if self.disable_reconnect:
                raise driver.NetworkError("the connection was ended by the worker")
            started = perf_counter()
            try:
                self._connect_to(server)
            except (driver.Error, OSError, EOFError, UnicodeDecodeError) as error:
                self.disconnect()
                self.failures.add(server)
                failed.append(_Failure(server, error, classify(error, perf_counter() - started)))
            else:
                self.failures.remove(server)
                if failed or last not in (None, server):
                    log.warning("another ClickHouse server is used", server=str(server), failed=_describe(failed))
                return
        if len(failed) == 1:
            raise failed[0].error
        raise StoreError(_summarize(failed)) from failed[-1].error

    def _connect_to(self, server: Server) -> None:
        """Connect to the first address of `server` that can be used. Raises the error of the last one."""
        try:
            found = socket.getaddrinfo(server.host, server.port, 0, socket.SOCK_STREAM)
            addresses = self.failures.order(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
            self.server = server
            self.server_hostname = server.host.removesuffix(".")  # which TLS verifies; no certificate has the last dot
            for position, address in enumerate(addresses, start=1):
                try:
                    self._init_connection(address, server.port)
                except (driver.Error, OSError, EOFError, UnicodeDecodeError):
                    self.disconnect()
                    self.failures.add(address)
                    if position == len(addresses) or self.disable_reconnect:
                        raise
                else:
                    self.failures.remove(address)
                    self.host = server.host
                    return
        except TimeoutError as error:
            raise driver.SocketTimeoutError(self._format_connection_error(error, *server)) from error
        except OSError as error:
            raise driver.NetworkError(self._format_connection_error(error, *server)) from error

    def receive_hello(self) -> None:
        """Wait for the server's greeting no longer than for the connection; overrides the driver's method."""
        seconds = min(self.connect_timeout, self.send_receive_timeout)
        started, timer = perf_counter(), shut_down_after(self.socket, seconds)
        try:
            with self.timeout_setter(seconds):
                super().receive_hello()
        except (OSError, EOFError) as error:
            if perf_counter() - started >= seconds:
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()

    def ping(self) -> bool | None:
        """Whether the server still answers; overrides the driver's method, after which it connects again."""
        answers: bool | None = super().ping()
        if answers is False:
            self.mark_failed()
        return answers

    def mark_failed(self) -> None:
        """Let the next connection try the other servers first, unless this one was ended by the worker."""
        if self.server is not None and not self.disable_reconnect:
            self.failures.add(self.server)

    @property
    def is_preferred(self) -> bool:
        """Whether no server that is listed earlier should be tried again."""
        return self.failures.order(self.servers)[0] == self.server

    def receive_exception(self) -> ServerException:
        """Read an exception packet; overrides the driver's method."""
        code = read_binary_int32(self.fin)
        name, message, trace = (read_binary_bytes(self.fin).decode("utf-8", "replace") for _ in range(3))
        nested = self.receive_exception() if read_binary_uint8(self.fin) else None
        prefix = f"{name}. " if name != "DB::Exception" else ""
        return ServerException(f"{prefix}{message}. Stack trace:\n\n{trace}", code, nested=nested)


def _describe(failed: Sequence[_Failure]) -> str:
    return "; ".join(f"{server}: {outcome}" for server, _, outcome in failed)


def _summarize(failed: Sequence[_Failure]) -> Outcome:
    """One outcome that names every server. A mistake that an operator must correct decides, if there is one."""
    mistakes = [failure for failure in failed if failure.outcome.kind is OutcomeKind.MISCONFIGURED]
    decisive = (mistakes or failed)[0].outcome
    return Outcome(decisive.kind, decisive.name, f"no server can be used: {_describe(failed)}", decisive.code)
