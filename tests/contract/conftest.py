"""Adapters on the real servers, ready to use."""

from collections.abc import Callable, Iterator

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.store import ClickHouseStore
from worker.observability.telemetry import Telemetry


@pytest.fixture
def target(engine: EngineProcess, clickhouse: Client, database: str) -> ClickHouseTarget:
    """A migrated table of the test's own, whose metric values must not be negative."""
    target = ClickHouseTarget(engine.host, engine.port, database, timeout_seconds=10.0)
    migrate(target)
    clickhouse.execute("ALTER TABLE execution_metrics ADD CONSTRAINT not_negative CHECK metric_value >= 0")
    return target


@pytest.fixture
def stores() -> Iterator[Callable[[ClickHouseTarget], ClickHouseStore]]:
    """Opens stores and closes them after the test."""
    opened: list[ClickHouseStore] = []

    def open_store(target: ClickHouseTarget, writers: int = 2) -> ClickHouseStore:
        opened.append(ClickHouseStore(target, writers, Telemetry()))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()
