"""The way to ClickHouse: where it is, one connection to it, and one statement on a connection of its own."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

from clickhouse_driver import errors as driver

from worker.clickhouse.client import BlockClient
from worker.clickhouse.errors import classify
from worker.core.errors import StoreError
from worker.core.outcome import Outcome, OutcomeKind
from worker.core.secrets import Secret

FAILURES = (driver.Error, OSError, EOFError, ValueError, OverflowError)
"""What the driver and the sockets raise, and what encoding a value that does not fit its column raises. Anything else
is a mistake of ours and must not be taken for a refused row."""

# The server's own answer to a slow insert or an overload must come before the client's time-out, and both before the
# group's: see Settings, which compares them.
_PING_SECONDS = 5


@dataclass(frozen=True)
class ClickHouseTarget:
    """Where ClickHouse is, who asks, and which table is meant. Time-outs in seconds."""

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
    def stored_table(self) -> str:
        """The table on each server that keeps the rows; on a cluster `table` is Distributed over it."""
        return f"{self.table}_local" if self.cluster else self.table

    def client(self) -> BlockClient:
        """A new client; it connects when first used. For one thread at a time."""
        return BlockClient(
            host=self.host,
            port=self.port,
            database=self.database,
            user=self.user,
            password=self.current_password(),
            client_name="metrics-worker",
            secure=self.secure,
            verify=self.verify,
            ca_certs=_text(self.ca_file),
            certfile=_text(self.cert_file),
            keyfile=_text(self.key_file),
            keypass=self.todays_key_password(),
            connect_timeout=self.connect_timeout_seconds,
            send_receive_timeout=self.timeout_seconds,
            sync_request_timeout=min(_PING_SECONDS, self.timeout_seconds),
            tcp_keepalive=True,
        )

    def current_password(self) -> str:
        """The password as it stands in its file now."""
        return self.password if isinstance(self.password, str) else self.password.reveal()

    def todays_key_password(self) -> str:
        """The same of the key. Where there is none it is empty: without any, OpenSSL would ask the terminal."""
        return self.key_password.reveal() if self.key_password else ""


class Connection:
    """A client that one thread uses and another may cut off."""

    def __init__(self, target: ClickHouseTarget) -> None:
        self._target = target
        self._client = target.client()
        self._in_use = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[BlockClient]:
        """The client, connected. After any error it is disconnected, because nobody knows what is on the wire."""
        with self._in_use:
            try:
                self._connect()
                yield self._client
            except BaseException:
                self._client.disconnect()
                raise

    def _connect(self) -> None:
        """Connect apart from the insert, so that a host that cannot be a name is not taken for a value of a row."""
        connection = self._client.connection
        # Also where it is connected: the driver looks whether that is still so, and connects again by itself.
        connection.password = self._target.current_password()  # certificates are read anew by the driver itself
        connection.ssl_options["keypass"] = self._target.todays_key_password()
        if connection.connected:
            return
        try:
            connection.connect()
        except UnicodeDecodeError:
            raise  # what answers there is no ClickHouse
        except UnicodeError as error:
            host = connection.hosts[0][0]
            message = f"CLICKHOUSE_HOST={host} is no host name: {error}"
            raise StoreError(Outcome(OutcomeKind.MISCONFIGURED, "InvalidHost", message)) from error

    def cut(self) -> None:
        """End it from another thread, whatever it does; no other connection takes its place."""
        self._client.connection.disable_reconnect = True  # a thread whose ping fails now must not begin again
        if self._in_use.acquire(blocking=False):
            self._client.disconnect()
            self._in_use.release()
            return
        # In use: only wake its thread, which then disconnects by itself. The driver's own disconnect is no thread's
        # business but the user's.
        socket = self._client.connection.socket
        if socket is not None:
            with suppress(OSError):
                socket.shutdown(SHUT_RDWR)


def run_statement(
    target: ClickHouseTarget,
    statement: str,
    values: Sequence[tuple[object, ...]] | Mapping[str, object] | None = None,
) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own; the rows that it answers, none where it answers none.

    `values` are the rows of an INSERT, or by name what stands for `%(name)s` elsewhere.

    Raises:
        StoreError: as the server or the connection failed.
    """
    connection = Connection(target)
    try:
        with connection.use() as client:
            answer = client.execute(statement, values)
    except FAILURES as error:
        raise StoreError(classify(error)) from error
    finally:
        connection.cut()
    return answer if isinstance(answer, list) else []


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
