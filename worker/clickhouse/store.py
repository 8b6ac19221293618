"""The store: ClickHouse over its native protocol, with one client and one thread for each INSERT under way.

clickhouse-driver is neither asynchronous nor thread-safe, so calls run in threads, and the event loop goes on:
heartbeats to Kafka do not wait for an INSERT.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from secrets import token_hex
from time import perf_counter
from traceback import clear_frames
from typing import TypeVar

import structlog

from worker.clickhouse.client import ExternalBlock
from worker.clickhouse.connection import FAILURES, ClickHouseTarget, WorkerConnection
from worker.clickhouse.encoding import ROW_NUMBER
from worker.clickhouse.table_check import find_schema_differences
from worker.core.errors import StoreError
from worker.core.outcome import WRITTEN, Constraint, Outcome, OutcomeKind
from worker.events.block import COLUMNS, Block
from worker.observability.telemetry import Telemetry
from worker.ports import Store

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

_TABLE_CHECK_SECONDS = 5.0
_ACCESS_DENIED = 497
_TOO_MANY_PARTS = 252
# Set, whatever the profile of the user has. The query cache has the text of a query as its key, not the rows that are
# sent with it; the other settings add rows to the answer or remove some.
_EVALUATION_SETTINGS: dict[str, object] = {"use_query_cache": 0, "extremes": 0, "limit": 0, "offset": 0}
_INSERT_SETTINGS: dict[str, object] = {
    # Since 26.3 the default of servers is an asynchronous INSERT, which has other errors and tokens.
    "async_insert": 0,
    "insert_deduplicate": 1,
    # Since 26.2 this setting decides, and the one above is ignored; older servers ignore this one.
    "deduplicate_insert": "enable",
    # When a connection breaks after the table is written and before its views are, the retry must write the views.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # Else ClickHouse merges the rows of each block before it writes them, which is two thirds of the CPU of an INSERT.
    # Few blocks have rows to replace. FINAL hides these until a merge of parts removes them.
    "optimize_on_insert": 0,
    # A Distributed table acknowledges when the shards have the rows, not when the connected server has them.
    "distributed_foreground_insert": 1,
}


class ClickHouseStore(Store):
    """The `Store` of `worker.ports`, on ClickHouse.

    At most `writers` INSERTs are under way at once; each has a thread and a connection.

    Its deduplication tokens differ from those of any other store, also of the same process started again. ClickHouse
    remembers tokens after rows were deleted, so with equal ones it would silently drop rows that are deliberately
    written again, by a replay or after a reset of offsets. What is repeated only because a process ended is merged.
    """

    def __init__(self, target: ClickHouseTarget, writers: int, telemetry: Telemetry) -> None:
        self._target = target
        self._telemetry = telemetry
        self._insert_statement = f"INSERT INTO `{target.table}` ({', '.join(COLUMNS)}) VALUES"
        self._inserted_table = f"{target.database}.{target.table}"
        self._tables_of_worker = {self._inserted_table, f"{target.database}.{target.topology.stored_table}"}
        self._token_prefix = token_hex(8)
        self._threads = ThreadPoolExecutor(writers, thread_name_prefix="clickhouse")
        self._thread_local = threading.local()
        self._connections: list[WorkerConnection] = []
        telemetry.set_clickhouse_servers(map(str, target.servers), self._find_servers_in_use)

    async def insert(self, block: Block) -> Outcome:
        """See `worker.ports.Store`."""
        return await self._in_thread(lambda: self._measured_insert(block))

    async def probe(self) -> Outcome:
        """See `worker.ports.Store`. It fails as an INSERT does before its rows are sent, and needs no further grant."""
        return await self._in_thread(lambda: self._insert(Block(0), {}))

    async def find_violating_rows(self, constraint: Constraint, block: Block) -> Sequence[int]:
        """See `worker.ports.Store`.

        The server evaluates the expression over the columns that it names, which are sent as an external table. That
        reads no table of the server, and needs no grant.

        Raises:
            StoreError: the server does not answer, or the constraint is of another table, such as the target of a view.
        """
        if constraint.table.replace("`", "") not in self._tables_of_worker:
            message = f"{constraint.table} is not the table of the worker"
            raise StoreError(Outcome(OutcomeKind.UNCLASSIFIED, "OtherTable", message))
        return await self._in_thread(lambda: self._evaluate(constraint.expression, block))

    async def find_problem(self) -> str | None:
        """Why the table cannot be written, or does not fit what the worker writes; None if neither."""
        outcome = await self.probe()
        if outcome.kind is not OutcomeKind.WRITTEN:
            return str(outcome)
        target = self._target
        table = f"{target.address} {target.database}.{target.table}"
        # A thread that waits for the server cannot be cancelled: the time-out is short, so that a stop waits briefly.
        quick_target = replace(target, timeout_seconds=min(target.timeout_seconds, _TABLE_CHECK_SECONDS))
        try:
            differences = await asyncio.to_thread(find_schema_differences, quick_target)
        except StoreError as error:
            if error.outcome.code != _ACCESS_DENIED:
                return str(error.outcome)
            # The table accepts inserts; that this user may not read its description is no reason to hold.
            log.warning("could not check whether the table fits", table=table, error=str(error.outcome))
            return None
        return (
            f"ClickHouse {table} does not fit what the worker writes: {'; '.join(differences)}" if differences else None
        )

    def close(self) -> None:
        """Cut every connection, so that no thread waits for the server any more, and end the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in self._connections:
            connection.cut()

    def _find_servers_in_use(self) -> set[str]:
        """The servers that connections for INSERTs are connected to; several while only some have failed over."""
        servers = [connection.server for connection in tuple(self._connections)]  # once each: it may fail meanwhile
        return {str(server) for server in servers if server}

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _measured_insert(self, block: Block) -> Outcome:
        started = perf_counter()
        self._telemetry.inserts.rows.observe(len(block))
        outcome: Outcome | None = None
        try:
            token = f"{self._token_prefix}-{block.deduplication_token()}"
            outcome = self._insert(block, {"insert_deduplication_token": token})
        finally:
            label = (outcome.kind.value, str(outcome.code or "")) if outcome else ("exception", "")
            self._telemetry.inserts.seconds.observe(perf_counter() - started)
            self._telemetry.inserts.statements.labels(*label).inc()
        return outcome

    def _insert(self, rows: Block, settings: dict[str, object]) -> Outcome:
        """Insert through one server, and through the next if that one is misconfigured: it may lack the table."""
        outcome = WRITTEN
        for _ in self._target.servers:
            outcome = self._insert_once(rows, settings)
            if outcome.kind is not OutcomeKind.MISCONFIGURED or not self._connection().has_untried_server:
                break
        return outcome

    def _insert_once(self, rows: Block, settings: dict[str, object]) -> Outcome:
        started = perf_counter()
        try:
            with self._connection().use() as client:
                client.insert(self._insert_statement, rows, _INSERT_SETTINGS | settings)
        except (StoreError, *FAILURES) as error:
            outcome = self._outcome_of(error, started)
            # "Too many partitions for single INSERT block": the limit of this server, or of a view, is lower. It is a
            # mistake in the view if even the rows of a single month are too many.
            if (outcome.code, outcome.kind) == (_TOO_MANY_PARTS, OutcomeKind.MISCONFIGURED) and rows.has_several_months:
                return outcome._replace(kind=OutcomeKind.TOO_LARGE)
            return outcome
        return WRITTEN

    def _evaluate(self, expression: str, block: Block) -> Sequence[int]:
        """Positions of the rows of `block` for which `expression` is not true. Raises StoreError."""
        started, named = perf_counter(), frozenset(re.findall(r"\w+", expression))
        try:
            with self._connection().use() as client:
                if not client.inserted_types:
                    client.insert(self._insert_statement, Block(block.month), _INSERT_SETTINGS)
                columns = [(name, client.inserted_types[name]) for name in COLUMNS if name in named]
                number, _ = ROW_NUMBER
                # The expression comes from the table; no value of a row is part of the statement.
                where = f"WHERE NOT ifNull(({expression}) = 1, 0)"
                query = f"SELECT {number} FROM block {where} ORDER BY {number}"  # noqa: S608 # nosec B608
                answer = client.select(
                    query, ExternalBlock("block", [ROW_NUMBER, *columns], block), _EVALUATION_SETTINGS
                )
        except (StoreError, *FAILURES) as error:
            raise StoreError(self._outcome_of(error, started)) from error
        positions = [position for (position,) in answer]
        if positions and positions[-1] >= len(block):
            message = f"row {positions[-1]} of {len(block)} violates {expression}"
            raise StoreError(Outcome(OutcomeKind.UNCLASSIFIED, "UnexpectedAnswer", message))
        return positions

    def _outcome_of(self, error: Exception, started: float) -> Outcome:
        # The frames of the driver form a cycle with its exception and hold the rows, and the collector runs rarely.
        clear_frames(error.__traceback__)
        outcome = self._connection().outcome(error, perf_counter() - started)
        if outcome.constraint and outcome.constraint.table.replace("`", "") != self._inserted_table:
            # A shard numbers the rows of its part of the block, and a view those of its result.
            return outcome._replace(row=None)
        return outcome

    def _connection(self) -> WorkerConnection:
        """The connection of this thread."""
        connection: WorkerConnection | None = getattr(self._thread_local, "connection", None)
        if connection is None:
            connection = self._thread_local.connection = WorkerConnection(self._target)
            self._connections.append(connection)
        return connection
