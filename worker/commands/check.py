"""`metrics-worker check`: the configuration and every dependency."""

import asyncio
import json
from collections.abc import Awaitable
from typing import NamedTuple

import click

from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.server_comparison import find_separate_servers, for_each_server
from worker.clickhouse.store import ClickHouseStore
from worker.commands.command_line import load_settings, print_warning
from worker.commands.help_page import format_examples
from worker.core.errors import DependencyError, StoreError
from worker.kafka.connection import require_acls, require_topics
from worker.kafka.group_instances import require_own_group
from worker.kafka.retention import find_compaction_problem
from worker.observability.telemetry import Telemetry
from worker.settings.clickhouse_target import clickhouse_target
from worker.settings.encryption import find_unencrypted_connections
from worker.settings.fields import Settings
from worker.settings.targets import kafka_acls, kafka_target
from worker.writing.null_outputs import NOTICE

_EXAMPLES = format_examples(
    "metrics-worker check",
    "metrics-worker check --json | jq 'select(.ok | not)'",
)


class CheckResult(NamedTuple):
    """The result of one check; the field names are the keys of the JSON output."""

    what: str
    ok: bool
    seen: str

    def format_line(self) -> str:
        """The result as a line of text."""
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<18}  {self.seen}"


@click.command(epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def check(as_json: bool) -> None:
    """Check the configuration and every dependency, one line each.

    Exit code 0 if all of them are ok, 3 if not. What is allowed, but may be a mistake, is a warning on stderr.
    """
    settings = load_settings()
    for warning in find_unencrypted_connections(settings):
        print_warning(warning)
    findings = asyncio.run(_check_dependencies(settings))
    for finding in findings:
        click.echo(json.dumps(finding._asdict()) if as_json else finding.format_line())
    if not all(finding.ok for finding in findings):
        raise SystemExit(3)


async def _check_dependencies(settings: Settings) -> list[CheckResult]:
    """Check every dependency, also after one has failed."""
    return [
        CheckResult("configuration", True, "every variable is valid"),
        await _check("topic", _describe_topic(settings, settings.kafka_topic)),
        await _check("dead-letter topic", _describe_dead_letter_topic(settings)),
        await _check("consumer group", _describe_group(settings)),
        *(
            await _check_clickhouse(clickhouse_target(settings))
            if settings.persistence_enabled
            else [CheckResult("persistence", True, NOTICE)]
        ),
    ]


async def _check_clickhouse(target: ClickHouseTarget) -> list[CheckResult]:
    """Check each server alone, and then whether they have one table."""
    results = [await _check("ClickHouse", _describe_table(single)) for single in for_each_server(target).values()]
    if len(results) > 1 and all(result.ok for result in results):
        results.append(await _check("ClickHouse hosts", _compare_servers(target)))
    return results


async def _check(what: str, describe: Awaitable[str]) -> CheckResult:
    try:
        return CheckResult(what, True, await describe)
    except DependencyError as error:
        return CheckResult(what, False, str(error))


async def _describe_topic(settings: Settings, topic: str) -> str:
    target, (acls, _) = kafka_target(settings), kafka_acls(settings)
    await require_acls(target, [acl for acl in acls if acl.name == topic])
    partitions = (await require_topics(target, [topic]))[topic]
    return f"{topic}, {partitions} partition{'s' * (partitions != 1)}"


async def _describe_dead_letter_topic(settings: Settings) -> str:
    topic = settings.kafka_dlq_topic
    description = await _describe_topic(settings, topic)
    if problem := await find_compaction_problem(kafka_target(settings), topic):
        raise DependencyError(problem)
    return description


async def _describe_group(settings: Settings) -> str:
    _, acls = kafka_acls(settings)
    target = kafka_target(settings)
    await require_acls(target, groups=acls)
    await require_own_group(target, settings.kafka_group_id, settings.kafka_group_instance_id)
    return settings.kafka_group_id


async def _describe_table(target: ClickHouseTarget) -> str:
    store = ClickHouseStore(target, writers=1, telemetry=Telemetry())
    try:
        problem = await store.find_problem()
    finally:
        await asyncio.to_thread(store.close)
    if problem:
        raise DependencyError(problem)
    return f"{target.address} {target.database}.{target.table} accepts inserts"


async def _compare_servers(target: ClickHouseTarget) -> str:
    try:
        problem = await asyncio.to_thread(find_separate_servers, target)
    except StoreError as error:
        raise DependencyError(str(error.outcome)) from error
    if problem:
        raise DependencyError(problem)
    return f"{target.address} have one table"
