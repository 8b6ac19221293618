"""`make chaos`: break broker, engine and workers on purpose, and prove by the books that nothing is lost."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from tests.chaos.play import play
from tests.chaos.report import summary
from tests.chaos.result import Result, Verdict
from tests.chaos.scenarios import ALL, BY_NAME

if TYPE_CHECKING:
    from tests.chaos.scenario import Scenario

OUTAGE_SECONDS = 15.0
SUMMARY_WIDTH = 140


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(BY_NAME)), help="Only this one; repeatable.")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Runs of each scenario.")
@click.option("--seed", "first", type=click.IntRange(min=0), default=1, show_default=True, help="Of the first run.")
@click.option("--events", type=click.IntRange(min=100), help="Of each run, instead of what the scenario has.")
@click.option(
    "--outage", type=click.FloatRange(min=5), default=OUTAGE_SECONDS, show_default=True, help="Seconds of long outages."
)
@click.option("--short", is_flag=True, help="One run each of a selection: some minutes.")
@click.option("--list", "listing", is_flag=True, help="Name the scenarios and what they break.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run on stdout instead of the summary.")
def main(
    names: tuple[str, ...],
    seeds: int,
    first: int,
    events: int | None,
    outage: float,
    short: bool,
    listing: bool,
    as_json: bool,
) -> None:
    """Play scenarios, each on several seeds; exit code 1 when one of them fails."""
    if listing:
        for scenario in ALL:
            click.echo(f"{scenario.name:<22} {'short  ' if scenario.short else '       '}{scenario.breaks}")
        return
    chosen = [BY_NAME[name] for name in names] or [scenario for scenario in ALL if scenario.short or not short]
    numbers = range(first, first + (1 if short else seeds))
    console = Console(stderr=as_json, soft_wrap=True, highlight=False, markup=False)
    results = []
    for scenario in chosen:
        for seed in numbers:
            results.append(_one(scenario, seed, events or scenario.events, outage, console))
            if as_json:
                click.echo(json.dumps(results[-1].as_json()))
    if not as_json:
        Console(width=SUMMARY_WIDTH).print(summary(results))
    sys.exit(any(result.verdict is Verdict.FAILED for result in results))


def _one(scenario: Scenario, seed: int, events: int, outage: float, console: Console) -> Result:
    directory = Path(tempfile.mkdtemp(prefix=f"execution-metrics-chaos-{scenario.name}-{seed}-"))
    kept = False
    try:
        result = play(scenario, seed, events, outage, directory)
        kept = result.verdict is Verdict.FAILED
    finally:
        if not kept:
            shutil.rmtree(directory)
    console.print(result.line())
    if kept:
        for problem in result.problems:
            console.print(f"    {problem}")
        again = f"--scenario {scenario.name} --seeds 1 --seed {seed} --events {events} --outage {outage:g}"
        console.print(f'    again: make chaos ARGS="{again}"\n    logs: {directory}')
    return result


if __name__ == "__main__":
    main()
