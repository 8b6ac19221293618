"""The tables of the worker, for tests that need them."""

from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import Migrations


def migrate(target: ClickHouseTarget) -> None:
    """Apply every migration to the database of `target`."""
    Migrations(target).apply(lambda _: None)
