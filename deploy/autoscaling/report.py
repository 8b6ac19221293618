"""The results of the simulation, as a table in Markdown and as a picture."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from deploy.autoscaling.chart import Line, Panel, draw
from deploy.autoscaling.manifests import read_scaling
from deploy.autoscaling.scenarios import DAY_SECONDS, NIGHT, NOON, SHOWN, Scenario
from deploy.autoscaling.simulation import LAG_LIMIT_SECONDS, SPEED, Result, lag_alone, level_and_lag, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

LAG, MANIFESTS = "lag alone", "the manifests"
_COLOURS = {LAG: "#cf6a00", MANIFESTS: "#0969da"}
_AGE_POINT_SECONDS = 600


@cache
def run(scenario: Scenario, rule: str) -> Result:
    """The result of a scenario with one of the two rules."""
    scaling = read_scaling()
    return simulate(scenario, scaling, lag_alone(scaling) if rule == LAG else level_and_lag(scaling))


def render_table() -> str:
    """What the two rules did in each scenario, without a line break at the end."""
    scaling = read_scaling()
    load = (
        f"{NIGHT:,} events per second at night and {NOON:,} at noon, {SPEED.core_seconds * 1e6:g} µs of CPU each; "
        f"{scaling.limits.min_replicas} to {scaling.limits.max_replicas} workers; one processes at most "
        f"{SPEED.events_per_second:,.0f} per second."
    )
    late = f"minutes with an event older than {LAG_LIMIT_SECONDS} s"
    titles = ("day", "rule", "changes of the replicas", "turns", "rebalances", "most workers", "worker-hours", late)
    lines = [load, "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for scenario in SHOWN:
        for rule in (LAG, MANIFESTS):
            result = run(scenario, rule)
            most = max(sample.replicas for sample in result.samples)
            cells = (len(result.steps), result.turns, result.rebalances, most, f"{result.worker_hours:.0f}")
            numbers = " | ".join(map(str, cells))
            lines.append(f"| {scenario.title} | {rule} | {numbers} | {result.late_seconds / 60:.0f} |")
    return "\n".join(lines)


def render_picture() -> str:
    """The replicas and the age of the oldest event of each scenario, as SVG."""
    replicas = [
        Panel(
            f"{scenario.title}: workers",
            [Line(rule, colour, list(_replicas(run(scenario, rule)))) for rule, colour in _COLOURS.items()],
            (0, 2, 4, 6, 8, 10, 12),
        )
        for scenario in SHOWN
    ]
    ages = [
        Panel(
            "age of the oldest event in seconds",
            [Line(rule, colour, list(_ages(run(scenario, rule)))) for rule, colour in _COLOURS.items()],
            (1, 10, 100, 1_000, 10_000),
            is_logarithmic=True,
        )
        for scenario in SHOWN
    ]
    return draw([replicas, ages])


def _replicas(result: Result) -> Iterator[tuple[float, float]]:
    for sample in (result.samples[0], *result.steps, result.samples[-1]):
        yield sample.at / 3600, sample.replicas


def _ages(result: Result) -> Iterator[tuple[float, float]]:
    for begin in range(0, DAY_SECONDS, _AGE_POINT_SECONDS):
        ages = [sample.age for sample in result.samples if begin <= sample.at < begin + _AGE_POINT_SECONDS]
        yield begin / 3600, max(ages)
