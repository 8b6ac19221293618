"""The tables of the worker, for tests that need them."""

from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from tests.support.local import fresh_name
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import Migrations


def migrate(target: ClickHouseTarget) -> None:
    """Apply every migration to the database of `target`."""
    Migrations(target).apply(lambda _: None)


@contextmanager
def migrated_database(engine: EngineProcess, prefix: str) -> Iterator[Client]:
    """A client of a new database with the worker's tables, for tests of large tables: it waits 600 s for an answer."""
    database = fresh_name(prefix)
    with engine.client() as client:
        client.execute(f"CREATE DATABASE {database}")
        migrate(ClickHouseTarget(engine.host, engine.port, database))
    with engine.client(database, send_receive_timeout=600) as client:
        yield client
        client.execute(f"DROP DATABASE {database} SYNC")


def refresh_roll_up(client: Client) -> None:
    """Compute the roll-up per day and wait until it is complete."""
    client.execute("SYSTEM REFRESH VIEW execution_metrics_per_day_refresh")
    client.execute("SYSTEM WAIT VIEW execution_metrics_per_day_refresh")
