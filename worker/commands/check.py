"""Is the configuration right and is everything there? One finding for each dependency."""

import asyncio
from typing import NamedTuple

from worker.clickhouse.store import ClickHouseStore
from worker.core.errors import DependencyError
from worker.kafka.connection import require_rights, require_topics
from worker.observability.telemetry import Telemetry
from worker.settings.loading import Settings
from worker.settings.targets import clickhouse_target, kafka_needs, kafka_target
from worker.startup import find_store_problem


class CheckResult(NamedTuple):
    """What was looked at, whether it is well, and what was seen."""

    what: str
    ok: bool
    seen: str

    def line(self) -> str:
        """For a person."""
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<18}  {self.seen}"


async def check_dependencies(settings: Settings) -> list[CheckResult]:
    """Look at each dependency, whatever the others are like."""
    return [
        CheckResult("configuration", True, "every variable is valid"),
        await _topic(settings, "topic", settings.kafka_topic),
        await _topic(settings, "dead-letter topic", settings.kafka_dlq_topic),
        await _group(settings),
        await _table(settings),
    ]


async def _topic(settings: Settings, what: str, topic: str) -> CheckResult:
    target, (needs, _) = kafka_target(settings), kafka_needs(settings)
    try:
        await require_rights(target, [need for need in needs if need.name == topic])
        partitions = (await require_topics(target, [topic]))[topic]
    except DependencyError as error:
        return CheckResult(what, False, str(error))
    return CheckResult(what, True, f"{topic}, {partitions} partition{'s' * (partitions != 1)}")


async def _group(settings: Settings) -> CheckResult:
    _, needs = kafka_needs(settings)
    try:
        await require_rights(kafka_target(settings), groups=needs)
    except DependencyError as error:
        return CheckResult("consumer group", False, str(error))
    return CheckResult("consumer group", True, settings.kafka_group_id)


async def _table(settings: Settings) -> CheckResult:
    target = clickhouse_target(settings)
    where = f"{target.host}:{target.port} {target.database}.{target.table}"
    store = ClickHouseStore(target, writers=1, telemetry=Telemetry())
    try:
        problem = await find_store_problem(store, target)
    finally:
        await asyncio.to_thread(store.close)
    return CheckResult("ClickHouse", problem is None, problem or f"{where} accepts inserts")
