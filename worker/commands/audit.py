"""`metrics-worker audit`: reconcile Kafka with ClickHouse. It writes nothing, offsets included."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from time import monotonic
from typing import NamedTuple

import click

from worker.audit.audit import Audit, TimeRange
from worker.audit.dead_letter_index import DeadLetterIndex
from worker.audit.findings import AuditCounts, AuditFinding
from worker.clickhouse.view import DeduplicatedView
from worker.commands import audit_report, connections
from worker.commands.command_line import (
    exit_without_joining_threads,
    json_option,
    load_settings,
    print_json,
    print_stderr,
)
from worker.commands.help_page import format_examples
from worker.commands.options import instant_option, require_time_order
from worker.core.errors import DependencyError
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.settlement import Action, Settlement
from worker.kafka.topic_reader import KafkaTopicReader
from worker.replay.scan import DeadLetterScan
from worker.settings.clickhouse_target import clickhouse_target
from worker.settings.fields import Settings
from worker.settings.targets import kafka_target

_PROGRESS_SECONDS = 5.0


class AuditScope(NamedTuple):
    """The records to audit; no partitions means all of them."""

    partitions: tuple[int, ...]
    from_offset: int | None
    to_offset: int | None
    time_range: TimeRange
    to_end: bool


_EXAMPLES = format_examples(
    "metrics-worker audit --since 2h",
    "metrics-worker audit --partition 3 --from-offset 1000000 --to-offset 2000000",
    "metrics-worker audit --json | jq -c 'select(.finding)'",
)


@click.command(epilog=_EXAMPLES)
@click.option("--partition", multiple=True, type=click.IntRange(0), help="Only this partition; can be repeated.")
@click.option("--from-offset", type=click.IntRange(0), help="Start at this offset, in each partition.")
@click.option("--to-offset", type=click.IntRange(0), help="Stop before this offset, in each partition.")
@instant_option("--since", "Only records with a timestamp from 2026-01-31T23:00:00Z, or 2h, 7d ago.")
@instant_option("--until", "Only records with an earlier timestamp; format as in --since.")
@click.option("--to-end", is_flag=True, help="Include records that are not committed yet; they may be in progress.")
@json_option("Print JSON lines, on a terminal too: each finding, then the sums.")
def audit(
    *,
    partition: tuple[int, ...],
    from_offset: int | None,
    to_offset: int | None,
    since: int | None,
    until: int | None,
    to_end: bool,
    as_json: bool,
) -> None:
    """Check that every metric of a range of records is in the view, has a dead letter, or is skipped by rule.

    The default range is all that the workers have committed. Where retention has deleted rows or dead letters, their
    metrics are reported as missing. Records that retention has deleted cannot be compared: with --from-offset all of
    them from there on are counted as expired, without it only those that the workers have not committed. Value, user,
    time and labels are compared with what the settings EVENT_* of today make of the record: after a change of
    EVENT_CLOUDEVENT_LABELS, rows that were written before it are different. Exit code 1 when a metric is missing or
    different.
    """
    require_time_order(since, until)
    if from_offset is not None and to_offset is not None and from_offset >= to_offset:
        raise click.UsageError("--from-offset is not before --to-offset, so there is nothing to audit")
    settings = load_settings()
    scope = AuditScope(partition, from_offset, to_offset, TimeRange(since, until), to_end)
    counts = asyncio.run(
        _audit(settings, scope, audit_report.print_json_finding if as_json else audit_report.print_finding)
    )
    if as_json:
        print_json({"finding": None, "sums": vars(counts)})
    else:
        audit_report.print_counts(counts)
    if not counts.records:
        print_stderr("no record was compared: the range has none, or the workers have committed none of it (--to-end)")
    code = 0 if counts.all_found else 1
    exit_without_joining_threads(code)
    raise SystemExit(code)


async def _audit(settings: Settings, scope: AuditScope, on_finding: Callable[[AuditFinding], object]) -> AuditCounts:
    async with AsyncExitStack() as stack:
        topic = KafkaTopicReader(kafka_target(settings), settings.kafka_topic, settings.kafka_group_id)
        reader = await stack.enter_async_context(connections.open_reader(topic))
        ranges, expired = await _offset_ranges(reader, scope, settings)

        dead_letters = DeadLetterIndex(settings.kafka_topic, ranges)
        stack.callback(dead_letters.close)
        view = DeduplicatedView(clickhouse_target(settings))
        stack.callback(view.close)
        async with connections.open_dead_letters(settings) as scan:
            await _index(scan, dead_letters)
        on_progress = _progress_printer(sum(map(len, ranges.values())))
        audit = Audit(reader.read, view, dead_letters, on_finding, on_progress, settings.event_policy)
        counts = await audit.run(ranges, scope.time_range)
        counts.expired = expired
        return counts


async def _index(scan: DeadLetterScan, index: DeadLetterIndex) -> None:
    """Index the dead letters that are open, and those that were discarded or edited."""
    async with aclosing(scan.read_batches(include_settled=True)) as batches:
        async for items in batches:
            for item in items:
                settlement = scan.find_settlement(item)
                if settlement is not None and settlement.action is Action.DISCARDED:
                    index.add(item, discarded=settlement.why or "")
                elif settlement is None and not scan.is_replaced(item):
                    index.add(item)
                elif _is_edited(item, settlement):
                    index.add(item, is_edited=True)


def _is_edited(item: DeadLetter | ForeignRecord, settlement: Settlement | None) -> bool:
    """Whether what became of a settled dead letter was edited: by what has settled it, or before it was written."""
    if settlement is not None and settlement.action is Action.EDITED:
        return True
    return isinstance(item, DeadLetter) and item.edit is not None


async def _offset_ranges(
    reader: KafkaTopicReader, scope: AuditScope, settings: Settings
) -> tuple[dict[int, range], int]:
    """The offsets of each partition in the scope that exist, and how many have expired.

    Raises DependencyError if the scope ends at committed offsets, and the group has none of a topic that is not empty.
    """
    # First the committed offsets: so none of them is beyond the end of its partition.
    committed = await reader.fetch_committed_offsets()
    extent = await reader.fetch_offset_ranges()
    for partition in scope.partitions:
        if partition not in extent:
            raise click.UsageError(f"the topic has no partition {partition}; it has {len(extent)}")
    if not (scope.to_end or committed) and any(offsets.stop for offsets in extent.values()):
        raise DependencyError(
            f"the consumer group {settings.kafka_group_id} has committed no offset of {settings.kafka_topic}: correct "
            "KAFKA_GROUP_ID, or audit with --to-end what is not committed"
        )
    ranges, expired = {}, 0
    for partition in scope.partitions or extent:
        offsets, next_offset = extent[partition], committed.get(partition)
        ends = [offsets.stop]
        if not scope.to_end:
            ends.append(next_offset or 0)
        if scope.to_offset is not None:
            ends.append(scope.to_offset)
        start = max(offsets.start, scope.from_offset or 0)
        ranges[partition] = range(start, max(start, min(ends)))
        first = next_offset if scope.from_offset is None else scope.from_offset
        if first is not None:
            last = offsets.start if scope.to_offset is None else min(offsets.start, scope.to_offset)
            expired += len(range(first, last))
    return ranges, expired


def _progress_printer(total: int) -> Callable[[int], None]:
    """A function that prints the number of records that are done, at most every `_PROGRESS_SECONDS`."""
    printed_at = monotonic()

    def print_progress(records: int) -> None:
        nonlocal printed_at
        if monotonic() - printed_at >= _PROGRESS_SECONDS:
            printed_at = monotonic()
            print_stderr(f"{records:,} of at most {total:,} records")

    return print_progress
