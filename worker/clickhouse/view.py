"""The de-duplicated view, which `metrics-worker audit` reads."""

from collections.abc import Callable, Collection
from time import perf_counter

from clickhouse_driver import errors as driver

from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.errors import classify
from worker.core.errors import DependencyError, StoreError
from worker.core.times import DAY
from worker.ports import DeduplicatedRows, RowKey, ViewRow

_KEYS = "row_keys"
_STRUCTURE = [(name, "Int32" if name == "day" else "String") for name in RowKey._fields]
_COLUMNS = """metric_type, agent_name, execution_id, metric_value, user_id, toUnixTimestamp64Milli(completed_at),
version, source_topic, source_partition, source_offset, labels"""
# The columns of the sort key: ClickHouse reads only the granules that can have one of the keys. GLOBAL: the servers of
# a cluster get the keys too.
_WHERE = f"""(toDate32(completed_at), metric_type, agent_name, execution_id) GLOBAL IN
(SELECT addDays(toDate32('1970-01-01'), day), metric, agent_name, execution_id FROM {_KEYS})"""  # noqa: S608 # nosec B608


class DeduplicatedView(DeduplicatedRows):
    """The view on ClickHouse; for one thread at a time."""

    def __init__(self, target: ClickHouseTarget) -> None:
        self._client = target.client()
        self._where = f"ClickHouse {target.address}"
        # The name is an identifier: Settings checks that.
        view = f"`{target.table}_deduplicated`"
        self._query = f"SELECT {_COLUMNS} FROM {view} WHERE {_WHERE}"  # noqa: S608 # nosec B608

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()

    def read_rows(self, keys: Collection[RowKey], on_row: Callable[[RowKey, ViewRow], None]) -> None:
        """See `worker.ports.DeduplicatedRows`. The keys are sent as an external table, which needs no grant."""
        rows = [key._asdict() for key in keys]
        external = [{"name": _KEYS, "structure": _STRUCTURE, "data": rows}]
        started = perf_counter()
        try:
            for values in self._client.execute_iter(self._query, external_tables=external):
                row = ViewRow(*values)
                on_row(RowKey(row.completed_at // DAY, row.metric, row.agent_name, row.execution_id), row)
        except StoreError as error:  # none of several servers can be used
            raise DependencyError(f"{self._where}: {error.outcome}") from error
        except (driver.Error, OSError, EOFError) as error:
            self._client.disconnect()
            raise DependencyError(f"{self._where}: {classify(error, perf_counter() - started)}") from error
