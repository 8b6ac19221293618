"""The store: ClickHouse over its native protocol, one client and one thread for each insert under way.

clickhouse-driver is neither asynchronous nor thread-safe, so calls run in threads of their own and the event loop goes
on: heartbeats to Kafka never wait for an insert.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from traceback import clear_frames
from typing import TypeVar

from worker.clickhouse.client import ExternalBlock
from worker.clickhouse.connection import FAILURES, ClickHouseTarget, Connection
from worker.clickhouse.encoding import ROW_NUMBER
from worker.clickhouse.errors import classify
from worker.core.errors import StoreError
from worker.core.outcome import WRITTEN, Constraint, Outcome, OutcomeKind
from worker.events.block import COLUMNS, Block
from worker.observability.telemetry import Telemetry

Result = TypeVar("Result")


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
        self._inserted_table = f"{target.database}.{target.table}"
        self._own_tables = {self._inserted_table, f"{target.database}.{target.stored_table}"}
        self._threads = ThreadPoolExecutor(writers, thread_name_prefix="clickhouse")
        self._own = threading.local()
        self._connections: list[Connection] = []

    async def insert(self, block: Block) -> Outcome:
        """See `worker.ports.Store`."""
        return await self._in_thread(lambda: self._measured_insert(block))

    async def probe(self) -> Outcome:
        """See `worker.ports.Store`. It meets every error that an INSERT meets before its rows, and needs no grant."""
        return await self._in_thread(lambda: self._insert(Block(0), {}))

    async def find_violations(self, constraint: Constraint, block: Block) -> Sequence[int]:
        """See `worker.ports.Store`.

        The server evaluates the expression over the columns that it names, sent along as an external table. That
        reads no table of the server, and needs no grant.

        Raises:
            StoreError: also where the constraint is another table's, such as that of a view's target.
        """
        if constraint.table.replace("`", "") not in self._own_tables:
            raise _cannot_evaluate("OtherTable", f"{constraint.table} is not the table of the worker")
        found = await self._in_thread(lambda: self._evaluate(constraint.expression, block))
        if isinstance(found, Outcome):
            raise StoreError(found)
        return found

    def close(self) -> None:
        """Cut every connection, so that no thread waits for a server any more, and end the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in self._connections:
            connection.cut()

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _measured_insert(self, block: Block) -> Outcome:
        started = perf_counter()
        self._telemetry.insert_rows.observe(len(block))
        outcome: Outcome | None = None
        try:
            outcome = self._insert(block, {"insert_deduplication_token": block.deduplication_token()})
        finally:
            label = (outcome.kind.value, str(outcome.code or "")) if outcome else ("mistake", "")
            self._telemetry.insert_seconds.observe(perf_counter() - started)
            self._telemetry.inserts.labels(*label).inc()
        return outcome

    def _insert(self, rows: Block, settings: dict[str, object]) -> Outcome:
        try:
            with self._connection().use() as client:
                client.insert(self._insert_statement, rows, _INSERT_SETTINGS | settings)
        except (StoreError, *FAILURES) as error:
            return self._outcome_of(error)
        return WRITTEN

    def _evaluate(self, expression: str, block: Block) -> Sequence[int] | Outcome:
        """Positions of the rows of `block` for which `expression` is not true."""
        named = frozenset(re.findall(r"\w+", expression))
        try:
            with self._connection().use() as client:
                if not client.inserted_types:
                    client.insert(self._insert_statement, Block(block.month), _INSERT_SETTINGS)
                columns = [(name, client.inserted_types[name]) for name in COLUMNS if name in named]
                number, _ = ROW_NUMBER
                # The expression is the table's own; no value of a row is part of the statement.
                where = f"WHERE NOT ifNull(({expression}) = 1, 0)"
                query = f"SELECT {number} FROM asked {where} ORDER BY {number}"  # noqa: S608 # nosec B608
                answer = client.ask(query, ExternalBlock("asked", [ROW_NUMBER, *columns], block), _QUESTION_SETTINGS)
        except (StoreError, *FAILURES) as error:
            return self._outcome_of(error)
        positions = [position for (position,) in answer]
        if positions and positions[-1] >= len(block):
            message = f"row {positions[-1]} of {len(block)} violates {expression}"
            return Outcome(OutcomeKind.UNCLASSIFIED, "NotTheAnswer", message)
        return positions

    def _outcome_of(self, error: Exception) -> Outcome:
        # The driver's frames form a cycle with its exception, and hold the rows; the collector runs rarely.
        clear_frames(error.__traceback__)
        outcome = error.outcome if isinstance(error, StoreError) else classify(error)
        if outcome.constraint and outcome.constraint.table.replace("`", "") != self._inserted_table:
            # A shard counts the rows of its piece of the block, and a view those of its own result.
            return outcome._replace(row=None)
        return outcome

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


def _cannot_evaluate(name: str, message: str) -> StoreError:
    return StoreError(Outcome(OutcomeKind.UNCLASSIFIED, name, message))
