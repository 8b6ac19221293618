"""Connections to ClickHouse: the target, one connection, and one statement on a connection of its own."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import SHUT_RDWR
from time import perf_counter
from typing import Any

from clickhouse_driver import errors as driver

from worker.clickhouse.client import BlockClient
from worker.clickhouse.errors import classify
from worker.clickhouse.topology import Topology
from worker.core.errors import StoreError
from worker.core.outcome import Outcome, OutcomeKind
from worker.core.secrets import Secret

FAILURES = (driver.Error, OSError, EOFError, ValueError, OverflowError)
"""What the driver and the sockets raise, and the encoding of a value that does not fit its column. Any other exception
is a bug of this program, and must not refuse a row."""

_PING_SECONDS = 5


@dataclass(frozen=True)
class ClickHouseTarget:
    """The server, the user, the table, and the time-outs, which Settings compares with those of the Kafka group."""

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

    @property
    def topology(self) -> Topology:
        """Where the tables are."""
        return Topology(self.database, self.table, self.cluster)

    def client(self) -> BlockClient:
        """Create a client for one thread at a time; it connects when it is first used."""
        return BlockClient(
            host=self.host,
            port=self.port,
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
            sync_request_timeout=min(_PING_SECONDS, self.timeout_seconds),
            tcp_keepalive=True,
        )

    def current_password(self) -> str:
        """The password, from its file as it is now."""
        return self.password if isinstance(self.password, str) else self.password.reveal()

    def current_key_password(self) -> str:
        """The password of the key; empty where there is none, because for None OpenSSL would ask at the terminal."""
        return self.key_password.reveal() if self.key_password else ""


class WorkerConnection:
    """A client that one thread uses, and that another thread may cut."""

    def __init__(self, target: ClickHouseTarget) -> None:
        self._target = target
        self._client = target.client()
        self._in_use = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[BlockClient]:
        """Yield the connected client. After an error it is disconnected, because its packets may be out of step."""
        with self._in_use:
            try:
                self._connect()
                yield self._client
            except BaseException:
                self._client.disconnect()
                raise

    def _connect(self) -> None:
        """Connect before the statement, so that a host name that cannot be encoded does not refuse a row."""
        connection = self._client.connection
        # Also when it is connected: the driver pings first, and connects again by itself.
        connection.password = self._target.current_password()  # the driver reads certificates again by itself
        connection.ssl_options["keypass"] = self._target.current_key_password()
        if connection.connected:
            return
        try:
            connection.connect()
        except UnicodeDecodeError:
            raise  # the server is not ClickHouse
        except UnicodeError as error:
            host = connection.hosts[0][0]
            message = f"CLICKHOUSE_HOST={host} is not a host name: {error}"
            raise StoreError(Outcome(OutcomeKind.MISCONFIGURED, "InvalidHost", message)) from error

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


def run_statement(
    target: ClickHouseTarget, statement: str, values: Sequence[tuple[object, ...]] | Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own; return the rows of its answer.

    `values` are the rows of an INSERT, or the values of `%(name)s` by name. Raises StoreError if ClickHouse refuses or
    cannot be reached.
    """
    started, connection = perf_counter(), WorkerConnection(target)
    try:
        with connection.use() as client:
            answer = client.execute(statement, values)
    except FAILURES as error:
        raise StoreError(classify(error, perf_counter() - started)) from error
    finally:
        connection.cut()
    return answer if isinstance(answer, list) else []
