"""Connections to ClickHouse: the target, one connection, and one statement on a connection of its own."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import SHUT_RDWR
from time import perf_counter
from typing import Any

from clickhouse_driver import errors as driver

from worker.clickhouse.client import BlockClient
from worker.clickhouse.errors import classify
from worker.clickhouse.servers import RecentFailures, Server, parse_servers
from worker.clickhouse.topology import Topology
from worker.core.errors import StoreError
from worker.core.outcome import Outcome, OutcomeKind
from worker.core.secrets import Secret

FAILURES = (driver.Error, OSError, EOFError, ValueError, OverflowError)
"""What the driver and the sockets raise, and the encoding of a value that does not fit its column. Any other exception
is a bug of this program, and must not refuse a row."""

_PING_SECONDS = 5
_SERVER_FAILED = (OutcomeKind.UNAVAILABLE, OutcomeKind.MISCONFIGURED)
"""Outcomes after which another server is tried first: it may have what this one lacks, such as its Keeper."""


@dataclass(frozen=True)
class ClickHouseTarget:
    """The servers, the user, the table, and the time-outs, which Settings compares with those of the Kafka group.

    Attributes:
        host: one server, or several in order of preference: see `parse_servers`.
        port: of the servers without a port of their own.
        failures: what connections of this target, and of its copies by `replace`, know of the servers.
    """

    host: str
    port: int = 9000
    database: str = "default"
    user: str = "default"
    password: str | Secret = field(default="", repr=False)
    secure: bool = False
    verify: bool = True
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: Secret | None = field(default=None, repr=False)
    table: str = "execution_metrics"
    cluster: str | None = None
    connect_timeout_seconds: float = 5.0
    timeout_seconds: float = 30.0
    failures: RecentFailures = field(default_factory=RecentFailures, repr=False, compare=False)

    @property
    def servers(self) -> list[Server]:
        """The servers, in order of preference."""
        return parse_servers(self.host, self.port)

    @property
    def address(self) -> str:
        """The servers as text, for messages."""
        return ",".join(map(str, self.servers))

    @property
    def topology(self) -> Topology:
        """Where the tables are."""
        return Topology(self.database, self.table, self.cluster)

    def client(self) -> BlockClient:
        """Create a client for one thread at a time; it connects when it is first used."""
        return BlockClient(
            self.servers,
            self.failures,
            database=self.database,
            user=self.user,
            password=self.current_password(),
            client_name="metrics-worker",
            secure=self.secure,
            verify=self.verify,
            ca_certs=self.ca_file,
            certfile=self.cert_file,
            keyfile=self.key_file,
            keypass=self.current_key_password(),
            connect_timeout=self.connect_timeout_seconds,
            send_receive_timeout=self.timeout_seconds,
            sync_request_timeout=min(_PING_SECONDS, self.connect_timeout_seconds, self.timeout_seconds),
            tcp_keepalive=True,
        )

    def current_password(self) -> str:
        """The password, from its file as it is now."""
        return self.password if isinstance(self.password, str) else self.password.reveal()

    def current_key_password(self) -> str:
        """The password of the key; empty where there is none, because for None OpenSSL would ask at the terminal."""
        return self.key_password.reveal() if self.key_password else ""


class WorkerConnection:
    """A client that one thread uses, and that another thread may cut.

    Args:
        target: the servers.
        marks_failed_statements: whether other servers are tried first after a statement that says more of its server
            than of its rows. A server that cannot be connected is always marked.
    """

    def __init__(self, target: ClickHouseTarget, *, marks_failed_statements: bool = True) -> None:
        self._target = target
        self._client = target.client()
        self._in_use = threading.Lock()
        self._marks_failed_statements = marks_failed_statements

    @contextmanager
    def use(self) -> Iterator[BlockClient]:
        """Yield the connected client. After an error it is disconnected, because its packets may be out of step."""
        with self._in_use:
            try:
                self._connect()
                yield self._client
            except BaseException as error:
                if self._marks_failed_statements and isinstance(error, (StoreError, *FAILURES)):
                    self._mark_failed_server(error)
                self._client.disconnect()
                raise

    def outcome(self, error: Exception, seconds: float) -> Outcome:
        """The outcome of a statement that failed after so many seconds; it names the server if there are several."""
        outcome = _outcome(error, seconds)
        if isinstance(error, StoreError) or not self._is_of_server(outcome):
            return outcome
        return outcome._replace(message=f"{self._client.connection.server}: {outcome.message}")

    @property
    def server(self) -> Server | None:
        """The connected server, unless it has failed since on another connection; any thread may ask."""
        connection = self._client.connection
        is_usable = connection.connected and not connection.failures.is_recent(connection.server)
        return connection.server if is_usable else None

    @property
    def has_untried_server(self) -> bool:
        """Whether there are several servers, and one that did not fail recently."""
        connection = self._client.connection
        recent = [connection.failures.is_recent(server) for server in connection.servers]
        return len(recent) > 1 and not all(recent)

    def _mark_failed_server(self, error: Exception) -> None:
        if self._is_of_server(_outcome(error, 0)):
            self._client.connection.mark_failed()

    def _is_of_server(self, outcome: Outcome) -> bool:
        """Whether it says more of the server than of the rows, and there are others."""
        return len(self._client.connection.servers) > 1 and outcome.kind in _SERVER_FAILED

    def _connect(self) -> None:
        """Connect before the statement, so that an error of the connection does not refuse a row."""
        connection = self._client.connection
        # Also when it is connected: the driver pings first, and connects again by itself.
        connection.password = self._target.current_password()  # the driver reads certificates again by itself
        connection.ssl_options["keypass"] = self._target.current_key_password()
        if not (connection.connected and connection.is_preferred):
            connection.connect()

    def cut(self) -> None:
        """End it from another thread, also during a statement, and never connect again."""
        self._client.connection.disable_reconnect = True  # for a thread whose ping fails now
        if self._in_use.acquire(blocking=False):
            self._client.disconnect()
            self._in_use.release()
            return
        # In use: only wake its thread, which then disconnects. The driver's own disconnect is not thread-safe.
        socket = self._client.connection.socket
        if socket is not None:
            with suppress(OSError):
                socket.shutdown(SHUT_RDWR)


def _outcome(error: Exception, seconds: float) -> Outcome:
    return error.outcome if isinstance(error, StoreError) else classify(error, seconds)


def choose_server(target: ClickHouseTarget) -> ClickHouseTarget:
    """`target` with only the first of its servers that can be used now. Raises StoreError if there is none."""
    connection = WorkerConnection(target)
    try:
        with connection.use() as client:
            server = client.connection.server
    except FAILURES as error:
        raise StoreError(connection.outcome(error, 0)) from error
    finally:
        connection.cut()
    return replace(target, host=str(server))


def run_statement(
    target: ClickHouseTarget, statement: str, values: Sequence[tuple[object, ...]] | Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own; return the rows of its answer.

    `values` are the rows of an INSERT, or the values of `%(name)s` by name. Raises StoreError if ClickHouse refuses or
    cannot be reached.

    Its error says nothing of INSERTs: the user of the worker may not read every table of the system, and a time-out may
    be shorter.
    """
    started, connection = perf_counter(), WorkerConnection(target, marks_failed_statements=False)
    try:
        with connection.use() as client:
            answer = client.execute(statement, values)
    except FAILURES as error:
        raise StoreError(connection.outcome(error, perf_counter() - started)) from error
    finally:
        connection.cut()
    return answer if isinstance(answer, list) else []
