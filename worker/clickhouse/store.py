"""The store: ClickHouse over its native protocol, one client and one thread for each insert under way.

clickhouse-driver is neither asynchronous nor thread-safe, so calls run in threads of their own and the event loop goes
on: heartbeats to Kafka never wait for an insert.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from traceback import clear_frames

from worker.block import COLUMNS, Block
from worker.clickhouse.client import BlockClient, ExternalBlock
from worker.clickhouse.connection import FAILURES, ClickHouseTarget, Connection
from worker.clickhouse.encoding import ROW_NUMBER
from worker.clickhouse.errors import translate
from worker.errors import Constraint, StoreError, UnknownStoreError
from worker.telemetry import Telemetry


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
        self._connections: list[Connection] = []

    async def insert(self, block: Block) -> None:
        """Insert `block`; see `worker.ports.Store`."""
        await self._in_thread(lambda: self._measured_insert(block))

    async def probe(self, witness: Block | None = None) -> None:
        """See `worker.ports.Store`. No rows meet every error that an insert meets before its rows.

        Neither needs another grant.
        """
        rows = witness or Block(0)
        await self._in_thread(lambda: self._insert(rows, {"insert_deduplicate": 0, "deduplicate_insert": "disable"}))

    async def violating(self, constraint: Constraint, block: Block) -> Sequence[int]:
        """See `worker.ports.Store`.

        The store evaluates the expression over the columns that it names, sent along as an external table. That
        reads no table of the server, and needs no grant.

        Raises:
            UnknownStoreError: the constraint is another table's, as behind a Distributed one.
        """
        if constraint.table.replace("`", "") != f"{self._target.database}.{self._target.table}":
            raise UnknownStoreError(f"{constraint.table} is not the table of the worker", name="OtherTable")
        positions: list[int] = []
        await self._in_thread(lambda: positions.extend(self._ask(constraint.expression, block)))
        return positions

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
        with self._client() as client:
            client.insert(self._insert_statement, rows, _INSERT_SETTINGS | settings)

    def _ask(self, expression: str, block: Block) -> Sequence[int]:
        """The rows of `block` of which `expression` is not true."""
        named = frozenset(re.findall(r"\w+", expression))
        with self._client() as client:
            if not client.inserted_types:
                client.insert(self._insert_statement, Block(block.month), _INSERT_SETTINGS)
            columns = [(name, client.inserted_types[name]) for name in COLUMNS if name in named]
            number, _ = ROW_NUMBER
            # The expression is the table's own; no value of a row is part of the statement.
            where = f"WHERE NOT ifNull(({expression}) = 1, 0)"
            query = f"SELECT {number} FROM asked {where} ORDER BY {number}"  # noqa: S608 # nosec B608
            answer = client.ask(query, ExternalBlock("asked", [ROW_NUMBER, *columns], block), _QUESTION_SETTINGS)
        positions = [position for (position,) in answer]
        if positions and positions[-1] >= len(block):
            raise UnknownStoreError(f"row {positions[-1]} of {len(block)} violates {expression}", name="NotTheAnswer")
        return positions

    @contextmanager
    def _client(self) -> Iterator[BlockClient]:
        """The client of this thread; what fails is told as the port tells it."""
        try:
            with self._connection().use() as client:
                yield client
        except FAILURES as error:
            # The driver's frames form a cycle with its exception, and hold the rows; the collector runs rarely.
            clear_frames(error.__traceback__)
            raise translate(error) from error

    def _connection(self) -> Connection:
        """The one of this thread."""
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = Connection(self._target)
            self._connections.append(connection)
        return connection


# Whatever the profile of the user has. The cache of queries is keyed by their text, and does not see what rows they ask
# about; the others add to an answer, or leave out of it.
_QUESTION_SETTINGS: dict[str, object] = {"use_query_cache": 0, "extremes": 0, "limit": 0, "offset": 0}

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
