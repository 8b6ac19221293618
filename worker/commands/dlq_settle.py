"""`metrics-worker dlq discard` and `restore`: settle dead letters by hand, and undo that."""

import asyncio
from typing import TypedDict

import click

from worker.commands import connections
from worker.commands.command_line import json_option, load_settings, print_json, print_stderr
from worker.commands.confirmation import is_confirmed, print_left_out, require_confirmable
from worker.commands.help_page import format_examples
from worker.commands.journal_entry import new_entry
from worker.commands.options import dead_letter_filter_options, parse_reason, print_if_none_matches
from worker.core.process import run_unless_stopped, stop_on_signals
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.settlement import Action, Settlement
from worker.replay.manual_settlement import ManualSettlement
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable

_limit = click.option("--limit", type=click.IntRange(1), help="At most this many.")
_dry_run = click.option("--dry-run", is_flag=True, help="Write nothing; report what would be done.")
_yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation; required where stdin is not a terminal.")
_json = json_option("Print one JSON object on stdout, on a terminal too.")
_DISCARD_EXAMPLES = format_examples(
    'metrics-worker dlq discard --cause 1f0c2d3e --reason "wrong unit" --dry-run',
    'metrics-worker dlq discard --cause foreign --reason "no dead letters" --yes',
)
_RESTORE_EXAMPLES = format_examples(
    "metrics-worker dlq restore --cause 1f0c2d3e",
    'metrics-worker dlq restore --settled-by replayed --since 7d --reason "rows were deleted"',
)


class _Options(TypedDict):
    """What both commands have in common."""

    limit: int | None
    dry_run: bool
    yes: bool
    as_json: bool


@click.command(epilog=_DISCARD_EXAMPLES)
@dead_letter_filter_options
@click.option(
    "--reason",
    required=True,
    type=parse_reason,
    metavar="TEXT",
    help="Why they are given up; the journal and the audit show it.",
)
@_limit
@_dry_run
@_yes
@_json
def discard(
    *, selection: DeadLetterFilter, reason: str, limit: int | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Give up dead letters: they count nowhere as open, and a replay leaves them alone.

    The records stay in the topic until retention deletes them; until then `dlq restore` undoes this.
    """
    if not reason.strip():
        raise click.UsageError("--reason is empty")
    options = _Options(limit=limit, dry_run=dry_run, yes=yes, as_json=as_json)
    _run(selection, None, new_entry(Action.DISCARDED, reason), options)


@click.command(epilog=_RESTORE_EXAMPLES)
@dead_letter_filter_options
@click.option(
    "--settled-by",
    default=Action.DISCARDED.value,
    show_default=True,
    type=click.Choice([Action.DISCARDED.value, Action.REPLAYED.value, Action.EDITED.value]),
    help="Those that were replayed are replayed again, as after a deletion of their rows.",
)
@click.option("--reason", type=parse_reason, metavar="TEXT", help="Why, for the journal.")
@_limit
@_dry_run
@_yes
@_json
def restore(
    *,
    selection: DeadLetterFilter,
    settled_by: str,
    reason: str | None,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Reopen dead letters that were discarded, or replayed, as long as the topic has them.

    A dead letter that another one has replaced stays settled.
    """
    options = _Options(limit=limit, dry_run=dry_run, yes=yes, as_json=as_json)
    _run(selection, Action(settled_by), new_entry(Action.REOPENED, reason), options)


def _run(selection: DeadLetterFilter, settled_by: Action | None, entry: Settlement, options: _Options) -> None:
    """Settle open dead letters, or reopen those that are `settled_by` an action."""
    if not (options["yes"] or options["dry_run"]):
        require_confirmable("this")
    settings = load_settings(RequiredVariable.KAFKA)
    chosen = asyncio.run(_settle(settings, selection, settled_by, entry, options))
    if chosen is None:
        print_stderr("nothing was written")
        raise SystemExit(1)
    found = chosen.by_class.total() + chosen.beyond_limit + chosen.unreadable
    print_if_none_matches(selection, found, "open" if settled_by is None else settled_by.value)
    _report(chosen, entry.action, options)
    raise SystemExit(int(bool(chosen.beyond_limit or chosen.unreadable)))


async def _settle(
    settings: Settings, selection: DeadLetterFilter, settled_by: Action | None, entry: Settlement, options: _Options
) -> ManualSettlement | None:
    """What is settled, or would be in a dry run; None if the operator does not want it."""
    stop = stop_on_signals()
    async with connections.open_dead_letters(settings, selection.partition) as scan:

        async def read(confirmed: ManualSettlement | None = None) -> ManualSettlement:
            return await ManualSettlement(selection, options["limit"], confirmed).read(scan, settled_by)

        chosen = await run_unless_stopped(stop, read())
        if chosen is None or options["dry_run"]:
            return chosen
        if not options["yes"] and (shown := chosen.by_class.total()):
            print_stderr(f"{shown:,} dead letters: {_format_counts(chosen)}")
            if not await is_confirmed(f"{_VERBS[entry.action]} them?", stop):
                return None
            if await scan.refresh():
                chosen = await read(confirmed=chosen)
                print_left_out(shown, chosen.by_class.total())
    if chosen.by_class:
        async with connections.open_journal(settings, entry) as journal:
            await chosen.write(journal)
    return chosen


_VERBS = {Action.DISCARDED: "Discard", Action.REOPENED: "Restore"}


def _format_counts(chosen: ManualSettlement) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in chosen.by_class.most_common())


def _report(chosen: ManualSettlement, action: Action, options: _Options) -> None:
    if options["as_json"]:
        print_json(
            {
                "dry_run": options["dry_run"],
                "action": action.value,
                "dead_letters": dict(chosen.by_class),
                "beyond_limit": chosen.beyond_limit,
                "unreadable": chosen.unreadable,
            }
        )
        return
    click.echo(
        f"{action.value}: {chosen.by_class.total():,} dead letters"
        + (f" ({_format_counts(chosen)})" * bool(chosen.by_class))
    )
    if chosen.beyond_limit:
        why = "more are not of those that were shown" if options["limit"] is None else "beyond --limit"
        click.echo(f"{chosen.beyond_limit:,} {why}")
    if chosen.unreadable:
        click.echo(f"{chosen.unreadable:,} records that the Kafka client cannot read are left alone")
    if options["dry_run"]:
        click.echo("dry run: nothing was written")
