"""The de-duplicated view, which `metrics-worker audit` reads."""

from collections.abc import Callable, Collection
from datetime import date
from time import perf_counter

from clickhouse_driver import errors as driver

from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.errors import classify
from worker.core.errors import DependencyError
from worker.ports import DeduplicatedRows, ViewRow

_COLUMNS = """metric_type, agent_name, execution_id, metric_value, user_id, toUnixTimestamp64Milli(completed_at),
version, source_topic, source_partition, source_offset"""
_WHERE = """execution_id IN %(executions)s
AND toDate32(completed_at) BETWEEN toDate32(%(first)s) AND toDate32(%(last)s)"""


class DeduplicatedView(DeduplicatedRows):
    """The view on ClickHouse; for one thread at a time."""

    def __init__(self, target: ClickHouseTarget) -> None:
        self._client = target.client()
        self._where = f"ClickHouse {target.host}:{target.port}"
        # The name is an identifier: Settings checks that.
        view = f"`{target.table}_deduplicated`"
        self._query = f"SELECT {_COLUMNS} FROM {view} WHERE {_WHERE}"  # noqa: S608 # nosec B608

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()

    def read_rows(
        self, executions: Collection[str], first: date, last: date, on_row: Callable[[ViewRow], None]
    ) -> None:
        """See `worker.ports.DeduplicatedRows`. Rows come block by block: an execution may have any number."""
        values = {"executions": tuple(executions), "first": first.isoformat(), "last": last.isoformat()}
        started = perf_counter()
        try:
            for row in self._client.execute_iter(self._query, values):
                on_row(ViewRow(*row))
        except (driver.Error, OSError, EOFError) as error:
            self._client.disconnect()
            raise DependencyError(f"{self._where}: {classify(error, perf_counter() - started)}") from error
