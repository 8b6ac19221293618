"""The connection to ClickHouse that the settings describe; apart from Kafka's, so that only some commands import it."""

from functools import lru_cache

from worker.clickhouse.connection import ClickHouseTarget
from worker.settings.fields import Settings


@lru_cache(maxsize=8)
def clickhouse_target(settings: Settings) -> ClickHouseTarget:
    """How to connect to ClickHouse. The same object for equal settings: all connections know which servers failed."""
    return ClickHouseTarget(
        host=settings.clickhouse_host,
        port=settings.clickhouse_port,
        database=settings.clickhouse_database,
        user=settings.clickhouse_user,
        password=settings.secret("clickhouse_password") or "",
        secure=settings.clickhouse_secure,
        verify=settings.clickhouse_verify,
        ca_file=settings.clickhouse_ca_file,
        cert_file=settings.clickhouse_cert_file,
        key_file=settings.clickhouse_key_file,
        key_password=settings.secret("clickhouse_key_password"),
        table=settings.clickhouse_table,
        cluster=settings.clickhouse_cluster,
        connect_timeout_seconds=settings.clickhouse_connect_timeout_seconds,
        timeout_seconds=settings.clickhouse_timeout_seconds,
    )
