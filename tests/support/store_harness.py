"""A pipeline on the real store."""

from tests.support.fakes import MemoryDeadLetters
from tests.support.worker_harness import FAILURE_LOG
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.store import ClickHouseStore
from worker.core.hold import Hold
from worker.core.retry import RetryPolicy
from worker.observability.telemetry import Telemetry
from worker.pipeline import Pipeline
from worker.writing.on_unavailable import OnUnavailable
from worker.writing.writer import Writer


class StoreHarness:
    """A pipeline on the real store; dead letters are kept in memory."""

    def __init__(self, target: ClickHouseTarget) -> None:
        self.telemetry = Telemetry()
        self.store = ClickHouseStore(target, 2, self.telemetry)
        self.dead_letters = MemoryDeadLetters()
        self.hold = Hold()
        retry = RetryPolicy(attempts=5, first_wait_seconds=0.01)
        writer = Writer(self.store, self.hold, self.telemetry, retry, OnUnavailable.DEAD_LETTER)
        self.pipeline = Pipeline(writer, self.dead_letters, self.hold, self.telemetry, FAILURE_LOG)

    def inserts(self) -> float:
        """The number of INSERTs so far."""
        return self.telemetry.registry.get_sample_value("metrics_worker_insert_seconds_count") or 0
