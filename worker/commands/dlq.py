"""`metrics-worker dlq`: list and explain dead letters, and what became of them. Only `discard` and `restore` write."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

import click

from worker.commands import connections, dlq_tables
from worker.commands.command_line import json_option, load_settings, print_json, print_stderr
from worker.commands.dlq_settle import discard, restore
from worker.commands.dlq_statistics import causes, stats
from worker.commands.help_page import CommandGroup, LazyCommand, format_examples
from worker.commands.options import dead_letter_filter_options, parse_position, print_if_none_matches
from worker.core.model import DeadLetterPosition
from worker.dead_letters import documents
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.history import History
from worker.dead_letters.settlement import Settled
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable

_TABLE_ROWS = 100
"""Default limit of a table."""
OnItem = Callable[[DeadLetter | ForeignRecord, Settled], None]


_LIST_EXAMPLES = format_examples(
    "metrics-worker dlq list --since 2h --error-class invalid_metric",
    "metrics-worker dlq list --metric latency_ms --agent planner --limit 5 --whole",
)
_EXPORT_EXAMPLES = format_examples(
    "metrics-worker dlq export > dead-letters.jsonl",
    "metrics-worker dlq export --cause 1f0c2d3e --settled | gzip > cause.jsonl.gz",
)
_SHOW_EXAMPLES = format_examples(
    "metrics-worker dlq show 0:42",
    "metrics-worker dlq show --json 0:42 3:7 | jq -r .error_message",
)
_HISTORY_EXAMPLES = format_examples("metrics-worker dlq history --limit 10")


@click.group(cls=CommandGroup, epilog="`metrics-worker dlq COMMAND --help` has examples.")
def dlq() -> None:
    """List, explain, discard and restore dead letters.

    Dead letters that are settled, by a replay or by hand, are left out. The output is a table on a terminal, else JSON
    lines.
    """


@dlq.command("list", epilog=_LIST_EXAMPLES)
@dead_letter_filter_options
@click.option(
    "--limit", type=click.IntRange(1), help=f"List at most this many; default: {_TABLE_ROWS} in a table, else all."
)
@click.option("--settled", is_flag=True, help="Include dead letters that are settled.")
@click.option("--whole", is_flag=True, help="With every byte, as `show`.")
@json_option("Print JSON lines, on a terminal too.")
def list_(*, selection: DeadLetterFilter, limit: int | None, settled: bool, whole: bool, as_json: bool) -> None:
    """List dead letters in the order of the topic. Filters can be combined."""
    settings = load_settings(RequiredVariable.KAFKA)
    rows: list[DeadLetter | ForeignRecord] = []
    if not as_json:
        limit = limit or _TABLE_ROWS
    on_item: OnItem = lambda item, _: rows.append(item)  # noqa: E731 - one of three
    if whole:
        on_item = _print_json_in_full if as_json else _print_in_full
    elif as_json:
        on_item = _print_json_in_short
    has_more = asyncio.run(_read_selected(settings, selection, limit, settled=settled, on_item=on_item))
    if rows:
        dlq_tables.print_list(rows)
    if has_more:
        print_stderr(f"the first {limit}; there are more (--limit)")


@dlq.command(epilog=_EXPORT_EXAMPLES)
@dead_letter_filter_options
@click.option("--settled", is_flag=True, help="Include dead letters that are settled.")
def export(*, selection: DeadLetterFilter, settled: bool) -> None:
    """Write whole dead letters as JSON lines, with every byte, in the order of the topic."""
    settings = load_settings(RequiredVariable.KAFKA)
    asyncio.run(_read_selected(settings, selection, None, settled=settled, on_item=_print_json_in_full))


@dlq.command(epilog=_SHOW_EXAMPLES)
@click.argument("positions", type=parse_position, metavar="PARTITION:OFFSET…", nargs=-1, required=True)
@json_option("Print a JSON object for each, with every byte, on a terminal too.")
def show(positions: tuple[DeadLetterPosition, ...], as_json: bool) -> None:
    """Show the dead letters at these places of the dead-letter topic, and what to do about them."""
    on_item = _print_json_in_full if as_json else _print_in_full
    missing = asyncio.run(_show(load_settings(RequiredVariable.KAFKA), positions, on_item))
    for position in missing:
        print_stderr(f"the dead-letter topic has no record at {position}")
    raise SystemExit(int(bool(missing)))


@dlq.command(epilog=_HISTORY_EXAMPLES)
@click.option("--limit", type=click.IntRange(1), help="At most this many, the latest.")
@json_option("Print JSON lines, on a terminal too.")
def history(limit: int | None, as_json: bool) -> None:
    """Show who has replayed, discarded or restored dead letters: when, why, how many, and with which result."""
    operations = asyncio.run(_collect_history(load_settings(RequiredVariable.KAFKA))).latest(limit)
    if not as_json:
        dlq_tables.print_history(operations)
        return
    for operation in operations:
        print_json(documents.describe_operation(operation))


dlq.add_command(causes)
dlq.add_command(stats)
dlq.add_command(discard)
dlq.add_command(restore)
# Imported only when it is called, because the others need no HTTP server.
dlq.add_command(
    LazyCommand(
        "watch",
        "worker.commands.dlq_watch:watch",
        "Serve the number of open dead letters by cause to Prometheus, until SIGTERM.",
    )
)


def _print_json_in_short(item: DeadLetter | ForeignRecord, _: Settled) -> None:
    print_json(documents.describe_in_short(item))


def _print_json_in_full(item: DeadLetter | ForeignRecord, settled: Settled) -> None:
    print_json(documents.describe_in_full(item, settled))


def _print_in_full(item: DeadLetter | ForeignRecord, settled: Settled) -> None:
    dlq_tables.print_in_full(item, settled)


async def _read_selected(
    settings: Settings,
    selection: DeadLetterFilter,
    limit: int | None,
    *,
    settled: bool,
    on_item: OnItem,
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
                on_item(item, scan.find_settled(item))
    print_if_none_matches(selection, count, "open or settled" if settled else "open")
    return False


async def _show(
    settings: Settings, positions: Sequence[DeadLetterPosition], on_item: OnItem
) -> list[DeadLetterPosition]:
    """Call `on_item` with the record at each position; returns those where there is none."""
    missing: list[DeadLetterPosition] = []
    async with connections.open_dead_letters(settings) as scan:
        for position in positions:
            if (item := await scan.find(position)) is None:
                missing.append(position)
            else:
                on_item(item, scan.find_settled(item))
    return missing


async def _collect_history(settings: Settings) -> History:
    history = History()
    async with connections.open_dead_letters(settings, on_settlement=history.add):
        return history
