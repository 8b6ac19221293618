"""Checks the configuration and every dependency, for `metrics-worker check`."""

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
    """The result of one check; the field names are the keys of the JSON output."""

    what: str
    ok: bool
    seen: str

    def format_line(self) -> str:
        """The result as a line of text."""
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<18}  {self.seen}"


async def check_dependencies(settings: Settings) -> list[CheckResult]:
    """Check every dependency, also after one has failed."""
    return [
        CheckResult("configuration", True, "every variable is valid"),
        await _check_topic(settings, "topic", settings.kafka_topic),
        await _check_topic(settings, "dead-letter topic", settings.kafka_dlq_topic),
        await _check_group(settings),
        await _check_table(settings),
    ]


async def _check_topic(settings: Settings, what: str, topic: str) -> CheckResult:
    target, (acls, _) = kafka_target(settings), kafka_needs(settings)
    try:
        await require_rights(target, [acl for acl in acls if acl.name == topic])
        partitions = (await require_topics(target, [topic]))[topic]
    except DependencyError as error:
        return CheckResult(what, False, str(error))
    return CheckResult(what, True, f"{topic}, {partitions} partition{'s' * (partitions != 1)}")


async def _check_group(settings: Settings) -> CheckResult:
    _, acls = kafka_needs(settings)
    try:
        await require_rights(kafka_target(settings), groups=acls)
    except DependencyError as error:
        return CheckResult("consumer group", False, str(error))
    return CheckResult("consumer group", True, settings.kafka_group_id)


async def _check_table(settings: Settings) -> CheckResult:
    target = clickhouse_target(settings)
    table = f"{target.host}:{target.port} {target.database}.{target.table}"
    store = ClickHouseStore(target, writers=1, telemetry=Telemetry())
    try:
        problem = await find_store_problem(store, target)
    finally:
        await asyncio.to_thread(store.close)
    return CheckResult("ClickHouse", problem is None, problem or f"{table} accepts inserts")
