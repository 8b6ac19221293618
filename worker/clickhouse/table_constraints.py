"""What the constraints of the table say of rows that are not written.

A temporary table takes the constraints of the table, and its engine, Null, discards every row. It is seen by its own
connection only, and ends with it.
"""

import asyncio
from collections.abc import Sequence
from secrets import token_hex
from time import perf_counter

from worker.clickhouse.connection import FAILURES, ClickHouseTarget, WorkerConnection
from worker.clickhouse.store import ClickHouseStore
from worker.core.errors import StoreError
from worker.core.outcome import WRITTEN, Outcome
from worker.events.block import COLUMNS, Block
from worker.observability.telemetry import Telemetry
from worker.ports import TableConstraints, Violation

_SETTINGS: dict[str, object] = {"async_insert": 0}


class ClickHouseConstraints(TableConstraints):
    """The `TableConstraints` of `worker.ports`, on ClickHouse.

    On a cluster they are those of the table that stores the rows, on the server that is connected.
    """

    def __init__(self, target: ClickHouseTarget) -> None:
        table = f"worker_constraints_{token_hex(8)}"
        source = f"`{target.database}`.`{target.topology.stored_table}`"
        self._table = f"{target.database}.{target.table}"
        self._create = f"CREATE TEMPORARY TABLE IF NOT EXISTS {table} AS {source} ENGINE = Null"
        self._insert = f"INSERT INTO {table} ({', '.join(COLUMNS)}) VALUES"
        self._connection = WorkerConnection(target)
        self._store = ClickHouseStore(target, 1, Telemetry())

    async def find_violations(self, block: Block) -> Sequence[Violation]:
        """See `worker.ports.TableConstraints`."""
        found: list[Violation] = []
        while block:
            outcome = await asyncio.to_thread(self._try, block)
            if outcome is WRITTEN:
                break
            if outcome.constraint is None:
                raise StoreError(outcome)
            constraint = outcome.constraint._replace(table=self._table)
            positions = await self._store.find_violating_rows(constraint, block)
            if not positions:  # the expression means something else in a SELECT
                raise StoreError(outcome)
            violating, block = block.split_rows(positions)
            found += (Violation(row, constraint) for row in violating.rows())
        return found

    def close(self) -> None:
        """End the connections."""
        self._connection.cut()
        self._store.close()

    def _try(self, block: Block) -> Outcome:
        """The outcome of an INSERT into the table of no rows."""
        started = perf_counter()
        try:
            with self._connection.use() as client:
                client.execute(self._create)
                client.insert(self._insert, block, _SETTINGS)
        except (StoreError, *FAILURES) as error:
            return self._connection.outcome(error, perf_counter() - started)
        return WRITTEN
