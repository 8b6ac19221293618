"""`make chaos`: break broker, engine and workers on purpose, and verify that nothing is lost."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console

from tests.chaos.report import build_summary
from tests.chaos.result import Verdict
from tests.chaos.runner import run_and_print
from tests.chaos.scenarios import ALL, BY_NAME

OUTAGE_SECONDS, SHORT_OUTAGE_SECONDS = 15.0, 8.0
SUMMARY_WIDTH = 140


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
@click.option("--short", is_flag=True, help="One run of each scenario of a selection; takes some minutes.")
@click.option("--list", "listing", is_flag=True, help="List the scenarios and what they break.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run on stdout instead of the summary.")
def main(
    names: tuple[str, ...],
    seeds: int,
    first: int,
    events: int | None,
    outage: float | None,
    short: bool,
    listing: bool,
    as_json: bool,
) -> None:
    """Run scenarios, each on several seeds; exit code 1 when one of them fails."""
    if listing:
        for scenario in ALL:
            click.echo(f"{scenario.name:<22} {'short  ' if scenario.short else '       '}{scenario.breaks}")
        return
    chosen = [BY_NAME[name] for name in names] or [scenario for scenario in ALL if scenario.short or not short]
    outage = outage or (SHORT_OUTAGE_SECONDS if short else OUTAGE_SECONDS)
    numbers = range(first, first + (1 if short else seeds))
    console = Console(stderr=as_json, soft_wrap=True, highlight=False, markup=False)
    results = []
    for scenario in chosen:
        for seed in numbers:
            results.append(run_and_print(scenario, seed, events or scenario.events, outage, console))
            if as_json:
                click.echo(json.dumps(results[-1].as_json()))
    if not as_json:
        Console(width=SUMMARY_WIDTH).print(build_summary(results))
    sys.exit(any(result.verdict is Verdict.FAILED for result in results))


if __name__ == "__main__":
    main()
