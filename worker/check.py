"""Is the configuration right and is everything there? One finding for each dependency."""

import asyncio
from typing import NamedTuple

from worker.app import clickhouse_target, kafka_target
from worker.clickhouse import ClickHouseStore
from worker.errors import DependencyError, StoreError
from worker.kafka import require_topics
from worker.settings import Settings
from worker.telemetry import Telemetry


class Finding(NamedTuple):
    """What was looked at, whether it is well, and what was seen."""

    what: str
    ok: bool
    seen: str

    def line(self) -> str:
        """For a person."""
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<18}  {self.seen}"


async def check_all(settings: Settings) -> list[Finding]:
    """Look at each dependency, whatever the others are like."""
    return [
        Finding("configuration", True, "every variable is valid"),
        await _topic(settings, "topic", settings.kafka_topic),
        await _topic(settings, "dead-letter topic", settings.kafka_dlq_topic),
        await _table(settings),
    ]


async def _topic(settings: Settings, what: str, topic: str) -> Finding:
    try:
        partitions = (await require_topics(kafka_target(settings), [topic]))[topic]
    except DependencyError as error:
        return Finding(what, False, str(error))
    return Finding(what, True, f"{topic}, {partitions} partition{'s' * (partitions != 1)}")


async def _table(settings: Settings) -> Finding:
    target = clickhouse_target(settings)
    where = f"{target.host}:{target.port} {target.database}.{target.table}"
    store = ClickHouseStore(target, writers=1, telemetry=Telemetry())
    try:
        await store.probe()
    except StoreError as error:
        return Finding("ClickHouse", False, f"{where}: {error.name}: {error}")
    finally:
        await asyncio.to_thread(store.close)
    return Finding("ClickHouse", True, f"{where} takes inserts")
