"""`metrics-worker replay`: replay dead letters."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import NamedTuple

import click

from worker.commands import replay_report
from worker.commands.command_line import exit_without_joining_threads, json_option, load_settings, print_stderr
from worker.commands.confirmation import is_confirmed, print_left_out, require_confirmable
from worker.commands.connections import open_dead_letters
from worker.commands.edit_option import open_editor
from worker.commands.help_page import format_examples
from worker.commands.journal_entry import new_entry
from worker.commands.options import dead_letter_filter_options, parse_reason, print_if_none_matches, require_finite
from worker.commands.replay_connections import ReplayConnections, base_policy
from worker.core.errors import SettingsError
from worker.core.escaping import escape_control_characters
from worker.core.process import run_unless_stopped, stop_on_signals
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.settlement import Action, Settlement
from worker.replay.event_editor import EventEditor
from worker.replay.plan import ReplayPolicy, ReplaySelection
from worker.replay.report import exit_code, report_preview, report_result
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan
from worker.replay.session import ReplayPreview, preview_replay, run_replay
from worker.settings.fields import Settings

_EXAMPLES = format_examples(
    "metrics-worker replay --dry-run",
    "metrics-worker replay --error-class store_unavailable --since 6h --rate 50000 --yes",
    "metrics-worker replay --cause 1f0c2d3e --edit '.metrics.seconds |= tonumber' --reason text --dry-run",
)


@click.command(epilog=_EXAMPLES)
@dead_letter_filter_options
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Replay at most this many; a dead letter that cannot be replayed does not count.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    callback=require_finite,
    help="Write at most this many metrics per second, to limit the load on ClickHouse.",
)
@click.option(
    "--max-replays",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Skip and report dead letters that were replayed this many times.",
)
@click.option(
    "--any-table", is_flag=True, help="Also replay dead letters whose rows were for another table or database."
)
@click.option("--refused", is_flag=True, help="Without a filter: also replay what this version would refuse again.")
@click.option(
    "--edit",
    "expression",
    metavar="EXPRESSION",
    help="Edit each event first, by an expression of jq; requires --reason, and the extra `edit`.",
)
@click.option("--reason", type=parse_reason, metavar="TEXT", help="Why, for the journal.")
@click.option(
    "--dry-run", is_flag=True, help="Write nothing; report what would be replayed, and what would be refused."
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation; required where stdin is not a terminal.")
@json_option("Print one JSON object on stdout, on a terminal too.")
def replay(
    *,
    selection: DeadLetterFilter,
    limit: int | None,
    rate: float | None,
    max_replays: int,
    any_table: bool,
    refused: bool,
    expression: str | None,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Replay dead letters: metrics go to the writer, events to the current decoder.

    A replay takes the dead letters that exist when it starts. It can be interrupted and repeated at any time: rows that
    exist already do not change. What fails again becomes a new dead letter; without a filter, what this version would
    refuse is left alone. Exit code 0: all selected dead letters are done; 1: some are left; 3: Kafka or ClickHouse is
    unavailable, and the next replay continues.
    """
    settings = load_settings()
    if not settings.persistence_enabled:
        raise SettingsError("PERSISTENCE_ENABLED=false: a replay writes, so it must be true")
    if not (yes or dry_run):
        require_confirmable("the replay")
    policy = base_policy(settings)
    policy = replace(
        policy,
        filter=selection,
        max_replays=max_replays,
        limit=limit,
        table=None if any_table else policy.table,
        metrics_per_second=rate,
        leaves_refused=selection.matches_all and expression is None and not refused,
    )
    entry = new_entry(Action.REPLAYED, reason)
    options = _Options(dry_run, confirm=not yes, as_json=as_json)
    with open_editor(expression, entry) as (entry, editor):
        raise SystemExit(asyncio.run(_replay(settings, policy, entry, editor, options)))


class _Options(NamedTuple):
    """What the command prints and asks."""

    dry_run: bool
    confirm: bool
    as_json: bool


async def _replay(
    settings: Settings, policy: ReplayPolicy, entry: Settlement, editor: EventEditor | None, options: _Options
) -> int:
    """Scan, confirm, replay, report. Returns the exit code."""
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        scanned = await run_unless_stopped(stop, _scan(stack, settings, policy, editor, options))
        if scanned is None:
            return _report_no_replay()
        scan, (preview, edits) = scanned
        print_if_none_matches(policy.filter, preview.visited)
        if options.dry_run:
            replay_report.print_report(report_preview(preview, edits), as_json=options.as_json)
            return int(bool(preview.remaining or preview.refused))
        if options.confirm:
            for line in replay_report.summarize_preview(preview, settings.qualified_table, edits):
                print_stderr(line)
        result = ReplayResult(preview, complete=True)
        if preview.chosen:
            if options.confirm and not await _is_confirmed(scan, stop):
                return _report_no_replay()
            shown = preview.chosen.total() if options.confirm else None
            result = await _run(settings, scan, policy, entry, editor, shown, stop)
    replay_report.print_report(report_result(result), as_json=options.as_json)
    if result.problem is not None:
        print_stderr(f"stopped: {escape_control_characters(result.problem)}")
    code = exit_code(result)
    if code and (result.problem is not None or result.interrupted):
        print_stderr("what is done stays done; the same command continues")
    exit_without_joining_threads(code)
    return code


async def _scan(
    stack: AsyncExitStack,
    settings: Settings,
    policy: ReplayPolicy,
    editor: EventEditor | None,
    options: _Options,
) -> tuple[DeadLetterScan, ReplayPreview]:
    """The scan, and what the policy selects of it; without a preview only up to the first one to be replayed."""
    scan = await stack.enter_async_context(open_dead_letters(settings, policy.filter.partition))
    if options.dry_run or options.confirm:
        opener = ReplayConnections(settings)
        return scan, await preview_replay(opener, scan, policy, editor, dry_run=options.dry_run)
    selection = ReplaySelection(policy)
    await scan.scan(selection, until=lambda: bool(selection.chosen))
    return scan, ReplayPreview(selection)


async def _run(
    settings: Settings,
    scan: DeadLetterScan,
    policy: ReplayPolicy,
    entry: Settlement,
    editor: EventEditor | None,
    shown: int | None,
    stop: asyncio.Event,
) -> ReplayResult:
    """Replay; `shown` is the number of dead letters that the operator has confirmed."""
    with replay_report.progress_bar(shown) as on_progress:
        result = await run_replay(
            ReplayConnections(settings),
            scan,
            policy,
            entry,
            editor,
            stop,
            on_progress=on_progress,
            on_finishing=replay_report.print_stop_message,
        )
    if shown is not None and result.complete:
        print_left_out(shown, result.selection.chosen.total())
    return result


async def _is_confirmed(scan: DeadLetterScan, stop: asyncio.Event) -> bool:
    """Ask the operator. What is no longer open at the answer is not replayed."""
    if not await is_confirmed("Replay them?", stop):
        return False
    await scan.refresh()
    return True


def _report_no_replay() -> int:
    print_stderr("nothing was replayed")
    return 1
