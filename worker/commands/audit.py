"""`metrics-worker audit`: reconcile Kafka with ClickHouse. Nothing here writes anything, offsets included."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from time import monotonic
from typing import NamedTuple

import click

from worker.audit.audit import Audit, TimeRange
from worker.audit.dead_letter_index import DeadLetterIndex
from worker.audit.findings import AuditCounts, AuditFinding
from worker.clickhouse.view import DeduplicatedView
from worker.commands import connections
from worker.commands.command_line import exit_without_joining_threads, load_settings, print_json, print_stderr, use_json
from worker.commands.options import InstantParam
from worker.core.escaping import escape_control_characters
from worker.kafka.dead_letter_reader import KafkaDeadLetterReader
from worker.settings.loading import Settings
from worker.settings.targets import clickhouse_target, kafka_target

_PROGRESS_SECONDS = 5.0
_SHOWN = 80


class AuditScope(NamedTuple):
    """What of the topic is meant."""

    partitions: tuple[int, ...]
    from_offset: int | None
    to_offset: int | None
    period: TimeRange
    to_end: bool


@click.command()
@click.option("--partition", multiple=True, type=click.IntRange(0), help="Only this partition; may be repeated.")
@click.option("--from-offset", type=click.IntRange(0), help="From this offset on, in each of the partitions.")
@click.option("--to-offset", type=click.IntRange(0), help="Up to this offset, which is not included.")
@click.option(
    "--since",
    type=InstantParam(),
    help="Records with a timestamp from 2026-01-31T23:00:00Z on, or 90s, 15m, 2h, 7d ago.",
)
@click.option("--until", type=InstantParam(), help="Records with an earlier timestamp; written as --since.")
@click.option("--to-end", is_flag=True, help="Also what the workers have not committed yet; it may be under way.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too: findings, and at last the sums.")
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
    """Look whether every metric of a range of records is in the view, or has a dead letter, or is skipped by rule.

    Without options: everything that the workers have committed. Where retention has deleted rows or dead letters, what
    they stood for is missing. Exit code 1 when something is missing or different.
    """
    settings = load_settings()
    asked = AuditScope(partition, from_offset, to_offset, TimeRange(since, until), to_end)
    as_json = use_json(as_json)
    tally = asyncio.run(_audit(settings, asked, as_json=as_json))
    if as_json:
        print_json({"finding": None, "sums": asdict(tally)})
    else:
        _put_sums(tally)
    exit_without_joining_threads(0 if tally.all_found else 1)
    raise SystemExit(0 if tally.all_found else 1)


async def _audit(settings: Settings, asked: AuditScope, *, as_json: bool) -> AuditCounts:
    async with AsyncExitStack() as stack:
        source = KafkaDeadLetterReader(kafka_target(settings), settings.kafka_topic, settings.kafka_group_id)
        await source.start()
        stack.push_async_callback(source.stop)
        ranges = await _ranges(source, asked)

        def index() -> DeadLetterIndex:
            made = DeadLetterIndex(settings.kafka_topic, ranges)
            stack.callback(made.close)
            return made

        view = DeduplicatedView(clickhouse_target(settings))
        stack.callback(view.close)
        async with connections.open_dead_letters(settings) as standing:
            letters = await standing.scan(index)
        put = _put_document if as_json else _put_text
        return await Audit(source, view, letters, put, _Progress(sum(map(len, ranges.values())))).run(
            ranges, asked.period
        )


async def _ranges(source: KafkaDeadLetterReader, asked: AuditScope) -> dict[int, range]:
    """The offsets of each partition that are meant and may stand there."""
    # Asked first: what is committed then lies before the end that is asked for after it.
    committed = await source.load_progress()
    extent = await source.offset_ranges()
    _require(asked, extent)
    ranges = {}
    for partition, offsets in extent.items():
        done = committed.get(partition)
        stop = offsets.stop if asked.to_end else min(offsets.stop, done.first_open if done else 0)
        stop = stop if asked.to_offset is None else min(stop, asked.to_offset)
        start = max(offsets.start, asked.from_offset or 0)
        if not asked.partitions or partition in asked.partitions:
            ranges[partition] = range(start, max(start, stop))
    return ranges


def _require(asked: AuditScope, extent: Mapping[int, range]) -> None:
    for partition in asked.partitions:
        if partition not in extent:
            raise click.UsageError(f"the topic has no partition {partition}; it has {len(extent)}")


class _Progress:
    """Says now and then how far it is."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._said = monotonic()

    def __call__(self, records: int) -> None:
        if monotonic() - self._said >= _PROGRESS_SECONDS:
            self._said = monotonic()
            print_stderr(f"{records:,} of at most {self._total:,} records")


def _put_document(finding: AuditFinding) -> None:
    print_json(
        {
            "finding": finding.kind,
            "source": {"partition": finding.partition, "offset": finding.offset},
            "execution_id": None if finding.execution_id is None else str(finding.execution_id),
            "metric": finding.metric,
            "detail": finding.detail,
        }
    )


def _put_text(finding: AuditFinding) -> None:
    what = "the whole record" if finding.metric is None else f'"{escape_control_characters(finding.metric, _SHOWN)}"'
    whose = "" if finding.execution_id is None else f" of {finding.execution_id}"
    where = f"{finding.partition}:{finding.offset}"
    click.echo(f"{finding.kind}: {what}{whose} at {where}: {escape_control_characters(finding.detail)}")


def _put_sums(tally: AuditCounts) -> None:
    click.echo(
        f"{tally.records:,} records: {tally.events:,} events, {tally.tombstones:,} tombstones; {tally.gone:,} gone"
    )
    click.echo(f"in the view   {tally.in_view:>14,}\nsuperseded    {tally.superseded:>14,}")
    click.echo(f"dead letters  {tally.dead_lettered:>14,}\nskipped       {sum(tally.skipped.values()):>14,}")
    click.echo(f"missing       {tally.missing:>14,}\ndifferent     {tally.different:>14,}")
