"""`metrics-worker dlq`: list and explain dead letters. These commands write nothing, offsets included."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import click

from worker.commands import connections, dlq_json, dlq_tables
from worker.commands.command_line import json_option, load_settings, print_json, print_stderr
from worker.commands.options import dead_letter_filter_options, parse_position
from worker.core.model import DeadLetterPosition
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable

_TABLE_ROWS = 100
"""Default limit of a table."""


@click.group()
def dlq() -> None:
    """List and explain dead letters.

    Dead letters that a replay has settled are left out. The output is a table on a terminal, else JSON lines.
    """


@dlq.command()
@click.option(
    "--top",
    default=10,
    show_default=True,
    type=click.IntRange(1),
    help="Values printed of each kind; the others are summed up.",
)
@json_option("Print one JSON object, on a terminal too.")
def stats(top: int, as_json: bool) -> None:
    """Count dead letters by class, code, metric, agent, source partition and hour."""
    statistics = asyncio.run(_collect_statistics(load_settings(RequiredVariable.KAFKA)))
    if as_json:
        print_json(dlq_json.describe_statistics(statistics, top))
    else:
        dlq_tables.print_statistics(statistics, top)


@dlq.command("list")
@dead_letter_filter_options
@click.option(
    "--limit", type=click.IntRange(1), help=f"List at most this many; default: {_TABLE_ROWS} in a table, else all."
)
@click.option("--settled", is_flag=True, help="Include dead letters that a replay has settled.")
@json_option("Print JSON lines, on a terminal too.")
def list_(*, selection: DeadLetterFilter, limit: int | None, settled: bool, as_json: bool) -> None:
    """List dead letters in the order of the topic. Filters can be combined."""
    settings = load_settings(RequiredVariable.KAFKA)
    rows: list[DeadLetter | ForeignRecord] = []
    if not as_json:
        limit = limit or _TABLE_ROWS
    on_item = _print_in_short if as_json else rows.append
    has_more = asyncio.run(_read_selected(settings, selection, limit, settled=settled, on_item=on_item))
    if not as_json:
        dlq_tables.print_list(rows)
    if has_more:
        print_stderr(f"the first {limit}; there are more (--limit)")


@dlq.command()
@click.argument("position", type=parse_position, metavar="PARTITION:OFFSET")
@json_option("Print one JSON object with every byte, on a terminal too.")
def show(position: DeadLetterPosition, as_json: bool) -> None:
    """Show the dead letter at PARTITION:OFFSET of the dead-letter topic, and what to do about it."""
    found = asyncio.run(_find(load_settings(RequiredVariable.KAFKA), position))
    if found is None:
        print_stderr(f"the dead-letter topic has no record at {position}")
        raise SystemExit(1)
    item, settled = found
    if as_json:
        print_json(dlq_json.describe_in_full(item, settled=settled))
    else:
        dlq_tables.print_in_full(item, settled=settled)


def _print_in_short(item: DeadLetter | ForeignRecord) -> None:
    print_json(dlq_json.describe_in_short(item))


async def _collect_statistics(settings: Settings) -> DeadLetterStatistics:
    async with connections.open_dead_letters(settings) as scan:
        return await scan.scan(DeadLetterStatistics())


async def _read_selected(
    settings: Settings,
    selection: DeadLetterFilter,
    limit: int | None,
    *,
    settled: bool,
    on_item: Callable[[DeadLetter | ForeignRecord], None],
) -> bool:
    """Call `on_item` with each selected record, up to `limit`. Returns whether there are more than `limit`."""
    count = 0
    async with (
        connections.open_dead_letters(settings, selection.partition) as scan,
        aclosing(scan.read_batches(include_settled=settled)) as batches,
    ):
        async for items in batches:
            for item in items:
                if not selection.matches(item):
                    continue
                if count == limit:
                    return True
                count += 1
                on_item(item)
    return False


async def _find(settings: Settings, position: DeadLetterPosition) -> tuple[DeadLetter | ForeignRecord, bool] | None:
    """The record at `position`, and whether it is settled; None where there is none."""
    async with connections.open_dead_letters(settings) as scan:
        item = await scan.find(position)
        return None if item is None else (item, scan.find_action(item) is not None)
