"""`metrics-worker dlq`: see and understand dead letters. Nothing here writes anything, offsets included."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import click

from worker.commands import connections, dlq_tables
from worker.commands.command_line import load_settings, print_json, print_stderr, use_json
from worker.commands.options import RecordPositionParam, dead_letter_filter_options
from worker.core.model import RecordPosition
from worker.dead_letters import document as letter_document
from worker.dead_letters.filters import Selection
from worker.dead_letters.letter import DeadLetter, ForeignRecord
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.settings.loading import Dependency, Settings

_ROWS = 100
"""Rows of a table, where nobody asks for another number."""


@click.group()
def dlq() -> None:
    """See and understand dead letters.

    What a replay has settled is left out. Tables on a terminal, JSON lines otherwise.
    """


@dlq.command()
@click.option(
    "--top", default=10, show_default=True, type=click.IntRange(1), help="Values of each kind, the rest as one."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
def stats(top: int, as_json: bool) -> None:
    """Count them by class, code, metric, agent, partition of the source, and hour."""
    tally = asyncio.run(_tally(load_settings(Dependency.KAFKA)))
    if use_json(as_json):
        print_json(letter_document.statistics(tally, top))
    else:
        dlq_tables.print_statistics(tally, top)


@dlq.command("list")
@dead_letter_filter_options
@click.option("--limit", type=click.IntRange(1), help=f"At most so many; {_ROWS} in a table, else all.")
@click.option("--settled", is_flag=True, help="Those too that a replay has settled.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def list_(*, selection: Selection, limit: int | None, settled: bool, as_json: bool) -> None:
    """List them in the order of the topic, one a line; filters may be combined."""
    settings = load_settings(Dependency.KAFKA)
    if use_json(as_json):
        more = asyncio.run(_list(settings, selection, limit, settled=settled, put=_put))
    else:
        rows: list[DeadLetter | ForeignRecord] = []
        limit = limit or _ROWS
        more = asyncio.run(_list(settings, selection, limit, settled=settled, put=rows.append))
        dlq_tables.print_list(rows)
    if more:
        print_stderr(f"the first {limit}; there are more (--limit)")


@dlq.command()
@click.argument("place", type=RecordPositionParam(), metavar="PARTITION:OFFSET")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with every byte, on a terminal too.")
def show(place: RecordPosition, as_json: bool) -> None:
    """Show everything about the dead letter at PARTITION:OFFSET of the dead-letter topic, and what to do about it."""
    found = asyncio.run(_find(load_settings(Dependency.KAFKA), place))
    if found is None:
        print_stderr(f"nothing stands at {place} of the dead-letter topic")
        raise SystemExit(1)
    item, settled = found
    if isinstance(item, ForeignRecord):
        document = letter_document.foreign(item)
    else:
        document = letter_document.whole(item, settled=settled)
    if use_json(as_json):
        print_json(document)
    elif isinstance(item, ForeignRecord):
        dlq_tables.print_foreign(item)
    else:
        dlq_tables.print_letter(item, settled=settled)


async def _tally(settings: Settings) -> DeadLetterStatistics:
    async with connections.open_dead_letters(settings) as standing:
        return await standing.scan(DeadLetterStatistics)


async def _list(
    settings: Settings,
    selection: Selection,
    limit: int | None,
    *,
    settled: bool,
    put: Callable[[DeadLetter | ForeignRecord], None],
) -> bool:
    """Hand what is meant to `put`; whether there was more than the limit."""
    count = 0
    async with connections.open_dead_letters(settings) as standing:
        if not settled:
            await standing.scan(_Nobody)  # only then it is known which letters another one stands for
        async with aclosing(standing.read_batches(settled=settled)) as letters:
            async for items in letters:
                for item in items:
                    if not (selection.matches(item) if isinstance(item, DeadLetter) else selection.everything):
                        continue
                    if count == limit:
                        return True
                    count += 1
                    put(item)
    return False


class _Nobody:
    def add(self, item: DeadLetter | ForeignRecord) -> None:
        """Look at one."""


def _put(item: DeadLetter | ForeignRecord) -> None:
    print_json(letter_document.foreign(item) if isinstance(item, ForeignRecord) else letter_document.summary(item))


async def _find(settings: Settings, place: RecordPosition) -> tuple[DeadLetter | ForeignRecord, bool] | None:
    async with connections.open_dead_letters(settings) as standing:
        item = await standing.find(place)
        if item is not None and not standing.claims.is_settled(place):
            await standing.scan(_Nobody)
        return None if item is None else (item, standing.claims.is_superseded(item))
