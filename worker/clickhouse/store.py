"""The store: ClickHouse over its native protocol, one client and one thread for each insert under way.

clickhouse-driver is neither asynchronous nor thread-safe, so calls run in threads of their own and the event loop goes
on: heartbeats to Kafka never wait for an insert.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import SHUT_RDWR
from time import perf_counter
from traceback import clear_frames
from typing import Any

from clickhouse_driver import errors as driver

from worker.block import COLUMNS, Block
from worker.clickhouse.client import BlockClient
from worker.clickhouse.errors import translate
from worker.errors import StoreError, StoreMisconfigured
from worker.secret import Secret
from worker.telemetry import Telemetry

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
    connect_timeout_seconds: float = 5.0
    timeout_seconds: float = 30.0

    def client(self) -> BlockClient:
        """A new client; it connects when first used. For one thread at a time."""
        return BlockClient(
            host=self.host,
            port=self.port,
            database=self.database,
            user=self.user,
            password=self.todays_password(),
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

    def todays_password(self) -> str:
        """The password as it stands in its file now."""
        return self.password if isinstance(self.password, str) else self.password.reveal()

    def todays_key_password(self) -> str:
        """The same of the key. Where there is none it is empty: without any, OpenSSL would ask the terminal."""
        return self.key_password.reveal() if self.key_password else ""


class ClickHouseStore:
    """The `Store` of `worker.ports`, on ClickHouse.

    Args:
        target: the server and the table.
        writers: how many inserts may be under way at once; each has a thread and a connection.
        telemetry: counts inserts, and measures the failed ones too.
    """

    def __init__(self, target: ClickHouseTarget, writers: int, telemetry: Telemetry) -> None:
        self._target = target
        self._telemetry = telemetry
        self._insert_statement = f"INSERT INTO `{target.table}` ({', '.join(COLUMNS)}) VALUES"
        self._threads = ThreadPoolExecutor(writers, thread_name_prefix="clickhouse")
        self._own = threading.local()
        self._connections: list[_Connection] = []

    async def insert(self, block: Block) -> None:
        """Insert `block`; see `worker.ports.Store`."""
        await self._in_thread(lambda: self._measured_insert(block))

    async def probe(self, witness: Block | None = None) -> None:
        """See `worker.ports.Store`. No rows meet every error that an insert meets before its rows.

        Neither needs another grant.
        """
        rows = witness or Block(0)
        await self._in_thread(lambda: self._insert(rows, {"insert_deduplicate": 0, "deduplicate_insert": "disable"}))

    def close(self) -> None:
        """Cut every connection, so that no thread waits for a server any more, and end the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in self._connections:
            connection.cut()

    async def _in_thread(self, call: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _measured_insert(self, block: Block) -> None:
        started = perf_counter()
        self._telemetry.insert_rows.observe(len(block))
        outcome, code = "mistake", ""
        try:
            self._insert(block, {"insert_deduplication_token": block.token()})
            outcome = "ok"
        except StoreError as error:
            outcome, code = type(error).__name__, str(error.code or "")
            raise
        finally:
            self._telemetry.insert_seconds.observe(perf_counter() - started)
            self._telemetry.inserts.labels(outcome, code).inc()

    def _insert(self, rows: Block, settings: dict[str, object]) -> None:
        try:
            with self._connection().use() as client:
                client.insert(self._insert_statement, rows, _INSERT_SETTINGS | settings)
        except _FAILURES as error:
            # The driver's frames form a cycle with its exception, and hold the rows; the collector runs rarely.
            clear_frames(error.__traceback__)
            raise translate(error) from error

    def _connection(self) -> "_Connection":
        """The one of this thread."""
        connection: _Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = _Connection(self._target)
            self._connections.append(connection)
        return connection


class _Connection:
    """A client that one thread uses and another may cut off."""

    def __init__(self, target: ClickHouseTarget) -> None:
        self._target = target
        self._client = target.client()
        self._in_use = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[BlockClient]:
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
        connection.password = self._target.todays_password()  # certificates are read anew by the driver itself
        connection.ssl_options["keypass"] = self._target.todays_key_password()
        if connection.connected:
            return
        try:
            connection.connect()
        except UnicodeDecodeError:
            raise  # what answers there is no ClickHouse
        except UnicodeError as error:
            host = connection.hosts[0][0]
            raise StoreMisconfigured(f"CLICKHOUSE_HOST={host} is no host name: {error}", name="InvalidHost") from error

    def cut(self) -> None:
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


# What the driver and the sockets raise, and what encoding a value that does not fit its column raises. Anything else is
# a mistake of ours and must not be taken for a refused row.
_FAILURES = (driver.Error, OSError, EOFError, ValueError, OverflowError)

_INSERT_SETTINGS: dict[str, object] = {
    # Set, not inherited: servers since 26.3 default to asynchronous inserts, whose errors and tokens differ.
    "async_insert": 0,
    "insert_deduplicate": 1,
    # Since 26.2 this decides, and the one above is ignored; older servers ignore this one.
    "deduplicate_insert": "enable",
    # A retry after a connection that broke between the table and its views must reach the views too.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # Into a Distributed table: acknowledged when the shards have it, not when the server that was asked has.
    "distributed_foreground_insert": 1,
}


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


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
    connection = _Connection(target)
    try:
        with connection.use() as client:
            answer = client.execute(statement, values)
    except _FAILURES as error:
        raise translate(error) from error
    finally:
        connection.cut()
    return answer if isinstance(answer, list) else []
