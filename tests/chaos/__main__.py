"""`make chaos`: break broker, engine and workers on purpose, and verify that nothing is lost."""

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from typing import NamedTuple

import click
from rich.console import Console

from tests.chaos.report import build_summary
from tests.chaos.result import RunResult, Verdict
from tests.chaos.runner import run_by_name
from tests.chaos.scenarios import ALL, BY_NAME

OUTAGE_SECONDS = 15.0
SHORT_OUTAGE_SECONDS = 6.0
"""As long as the longest time-out of `SHORT_TIMES` that must not end the membership in the group."""
SUMMARY_WIDTH = 140


class Run(NamedTuple):
    """One scenario on one seed; without `events`, with as many as the scenario has."""

    scenario: str
    seed: int
    events: int | None
    outage_seconds: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(BY_NAME)), help="Only this one; repeatable.")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Runs of each scenario.")
@click.option(
    "--seed", "first", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the first run."
)
@click.option("--events", type=click.IntRange(min=100), help="Records of each run.  [default: depends on the scenario]")
@click.option(
    "--outage",
    type=click.FloatRange(min=5),
    help=f"Seconds of long outages.  [default: {OUTAGE_SECONDS:g}; {SHORT_OUTAGE_SECONDS:g} with --short]",
)
@click.option("--short", is_flag=True, help="One run of each scenario of a selection; takes two minutes.")
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at the same time.  [default: one for each core]")
@click.option("--list", "listing", is_flag=True, help="List the scenarios and what they break.")
def main(
    names: tuple[str, ...],
    seeds: int,
    first: int,
    events: int | None,
    outage: float | None,
    short: bool,
    jobs: int | None,
    listing: bool,
) -> None:
    """Run scenarios, each on several seeds; exit code 1 when one of them fails."""
    if listing:
        for scenario in ALL:
            click.echo(f"{scenario.name:<22} {'short  ' if scenario.short else '       '}{scenario.breaks}")
        return
    chosen = [BY_NAME[name] for name in names] or [scenario for scenario in ALL if scenario.short or not short]
    outage = outage or (SHORT_OUTAGE_SECONDS if short else OUTAGE_SECONDS)
    numbers = range(first, first + (1 if short else seeds))
    runs = [Run(scenario.name, seed, events, outage) for scenario in chosen for seed in numbers]
    console = Console(soft_wrap=True, highlight=False, markup=False)
    results: dict[Run, RunResult] = {}
    for run, result, text in _execute(runs, jobs or os.cpu_count() or 1):
        results[run] = result
        console.print(text, end="")
    Console(width=SUMMARY_WIDTH).print(build_summary([results[run] for run in runs]))
    sys.exit(any(result.verdict is Verdict.FAILED for result in results.values()))


def _execute(runs: Iterable[Run], jobs: int) -> Iterator[tuple[Run, RunResult, str]]:
    """Execute `runs`, `jobs` at a time, and yield each at its end, with its result and the lines to print.

    Each has a process of its own, because its load, its proxies and its verification would delay those of another run
    in the same process. A run is submitted only when it can start, so that none starts after Ctrl-C, which the running
    processes get as well.
    """
    waiting = iter(runs)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as executor:
        running = {executor.submit(run_by_name, *run): run for run in islice(waiting, jobs)}
        while running:
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield running.pop(future), *future.result()
                running |= {executor.submit(run_by_name, *run): run for run in islice(waiting, 1)}


if __name__ == "__main__":
    main()
