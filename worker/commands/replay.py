"""`metrics-worker replay`: put dead letters back."""

import asyncio
import sys
from contextlib import AsyncExitStack
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, cast

import click

from worker.commands import connections, replay_report
from worker.commands.command_line import exit_without_joining_threads, load_settings, print_json, print_stderr, use_json
from worker.commands.line_stream import stream_lines
from worker.commands.options import dead_letter_filter_options
from worker.core.errors import DependencyError, SettingsError
from worker.core.process import run_unless_stopped, stop_on_signals
from worker.dead_letters.filters import Selection
from worker.replay.plan import Plan, ReplayPolicy
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan
from worker.settings.loading import Settings

if TYPE_CHECKING:
    from io import BufferedIOBase


def _finite(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not isfinite(value):
        raise click.BadParameter(f"{value} is no number of metrics a second")
    return value


@click.command()
@dead_letter_filter_options
@click.option("--limit", type=click.IntRange(1), help="At most so many dead letters that can be put back.")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    callback=_finite,
    help="At most so many metrics a second, to spare ClickHouse.",
)
@click.option(
    "--max-replays",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Leave alone, and report, what was replayed so often.",
)
@click.option(
    "--dry-run", is_flag=True, help="Write nothing; say what would be replayed, and what the worker would refuse."
)
@click.option("--yes", is_flag=True, help="Do not ask; needed where stdin is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, on a terminal too.")
def replay(
    *,
    selection: Selection,
    limit: int | None,
    rate: float | None,
    max_replays: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put dead letters back: metrics to the writer, events to the decoder of today.

    It takes what stands in the dead-letter topic when it starts, and may be interrupted and repeated at will: rows that
    are there already stay the same. What fails again becomes a new dead letter. Exit code 0: nothing of what was meant
    is left; 1: something is; 3: Kafka or ClickHouse is away, and the next replay goes on.
    """
    settings = load_settings()
    if not settings.persistence_enabled:
        raise SettingsError("PERSISTENCE_ENABLED=false: a replay writes, so it must be true")
    if not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError("stdin is no terminal, so nobody can be asked: add --yes (or --dry-run)")
    policy = ReplayPolicy(selection, max_replays, limit, rate, max_bytes=settings.batch_max_bytes)
    code = asyncio.run(_replay(settings, policy, dry_run=dry_run, ask=not yes, as_json=use_json(as_json)))
    raise SystemExit(code)


async def _replay(settings: Settings, policy: ReplayPolicy, *, dry_run: bool, ask: bool, as_json: bool) -> int:
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        looked = await run_unless_stopped(stop, _look(stack, settings, policy, dry_run=dry_run))
        if looked is None:
            return _nothing_was_replayed()
        standing, plan = looked
        if dry_run:
            _put(replay_report.report_plan(plan), as_json=as_json)
            return int(bool(plan.left or plan.refused))
        for line in replay_report.beforehand(plan, connections.qualified_table_name(settings)):
            print_stderr(line)
        if plan.chosen and ask and not await _agreed(stop):
            return _nothing_was_replayed()
        outcome = await _run(settings, standing, policy, plan, stop) if plan.chosen else ReplayResult()
    _put(replay_report.report_result(plan, outcome), as_json=as_json)
    if outcome.problem is not None:
        print_stderr(f"stopped: {outcome.problem}")
    code = replay_report.exit_code(plan, outcome)
    if code and (outcome.problem is not None or outcome.interrupted):
        print_stderr("what is done stays done; the same command goes on")
    exit_without_joining_threads(code)
    return code


async def _look(
    stack: AsyncExitStack, settings: Settings, policy: ReplayPolicy, *, dry_run: bool
) -> tuple[DeadLetterScan, Plan]:
    standing = await stack.enter_async_context(connections.open_dead_letters(settings))
    return standing, await standing.scan(
        partial(Plan, policy, connections.qualified_table_name(settings), trying=dry_run)
    )


async def _run(
    settings: Settings, standing: DeadLetterScan, policy: ReplayPolicy, plan: Plan, stop: asyncio.Event
) -> ReplayResult:
    with replay_report.progress(plan.chosen.total()) as told:
        try:
            async with connections.open_replay(
                settings, standing, policy, told=told, finishing=_say_finishing
            ) as ready:
                return await ready.run(stop)
        except DependencyError as error:
            return ReplayResult(problem=str(error))  # before anything was written


def _nothing_was_replayed() -> int:
    print_stderr("nothing was replayed")
    return 1


def _say_finishing(seconds: float) -> None:
    print_stderr(
        f"finishing the block under way, {seconds:.0f} s at most; to ask again ends it at once, and loses nothing"
    )


async def _agreed(stop: asyncio.Event) -> bool:
    # By the event loop: who blocks in a read does not hear a signal that comes just before it.
    click.echo("Replay them? [y/N]: ", err=True, nl=False)
    answer = await run_unless_stopped(stop, _answer())
    if not answer:
        print_stderr("")  # nobody has typed the end of the line
    return answer is not None and answer.strip().lower() in (b"y", b"yes")


async def _answer() -> bytes:
    async for line in stream_lines(cast("BufferedIOBase", sys.stdin.buffer)):
        return line
    return b""


def _put(report: replay_report.Report, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        replay_report.print_report(report)
