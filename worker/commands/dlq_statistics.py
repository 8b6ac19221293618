"""`metrics-worker dlq causes` and `stats`: count dead letters."""

import asyncio
from contextlib import aclosing

import click

from worker.commands import connections, dlq_causes, dlq_tables
from worker.commands.command_line import json_option, load_settings, print_json
from worker.commands.help_page import format_examples
from worker.commands.options import dead_letter_filter_options, print_if_none_matches
from worker.dead_letters import documents
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.statistics import CauseStatistics, DeadLetterStatistics
from worker.replay.scan import Visitor
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable

_top = click.option(
    "--top",
    default=10,
    show_default=True,
    type=click.IntRange(1),
    help="Values printed of each kind; the others are summed up.",
)

_CAUSES_EXAMPLES = format_examples(
    "metrics-worker dlq causes",
    "metrics-worker replay --cause 1f0c2d3e",
    'metrics-worker dlq discard --cause 1f0c2d3e --reason "wrong unit"',
)
_STATS_EXAMPLES = format_examples(
    "metrics-worker dlq stats --since 24h --top 3",
    "metrics-worker dlq stats --json | jq .total",
)


@click.command(epilog=_CAUSES_EXAMPLES)
@dead_letter_filter_options
@_top
@json_option("Print one JSON object, on a terminal too.")
def causes(*, selection: DeadLetterFilter, top: int, as_json: bool) -> None:
    """Group dead letters by what is to be done about them.

    A cause is a class, a code, a constraint or view, a metric, and the error message without values. Its ID stays the
    same; with --cause every command that has filters works on the dead letters of one cause.
    """
    statistics = asyncio.run(_collect(load_settings(RequiredVariable.KAFKA), selection, CauseStatistics()))
    if as_json:
        print_json(documents.describe_causes(statistics, top))
    else:
        dlq_causes.print_causes(statistics, top)


@click.command(epilog=_STATS_EXAMPLES)
@dead_letter_filter_options
@_top
@json_option("Print one JSON object, on a terminal too.")
def stats(*, selection: DeadLetterFilter, top: int, as_json: bool) -> None:
    """Count dead letters by class, code, metric, agent, source partition and hour."""
    statistics = asyncio.run(_collect(load_settings(RequiredVariable.KAFKA), selection, DeadLetterStatistics()))
    if as_json:
        print_json(documents.describe_statistics(statistics, top))
    else:
        dlq_tables.print_statistics(statistics, top)


async def _collect(settings: Settings, selection: DeadLetterFilter, statistics: Visitor) -> Visitor:
    """Show the selected open dead letters to `statistics`, and return it."""
    found = 0
    async with (
        connections.open_dead_letters(settings, selection.partition) as scan,
        aclosing(scan.read_batches()) as batches,
    ):
        async for items in batches:
            for item in items:
                if selection.matches(item):
                    found += 1
                    statistics.visit(item)
    print_if_none_matches(selection, found)
    return statistics
