"""The summary of many runs: a row for each scenario."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from rich import box
from rich.table import Table

from tests.chaos.result import RunResult, Verdict

_SUMS = ("events", "rows", "dead_letters", "lost", "duplicates", "wrong", "raw_duplicates", "restarts")


def build_summary(results: Sequence[RunResult]) -> Table:
    """Sums over the runs of each scenario, and the highest memory. `results` must be sorted by scenario."""
    table = Table(box=box.SIMPLE_HEAD, title="make chaos", title_justify="left", padding=(0, 0))
    table.add_column("scenario", no_wrap=True)
    for name in ("runs", *(name.replace("_", " ") for name in _SUMS), "held s", "peak MB"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for name, of_one in groupby(results, attrgetter("scenario")):
        runs = list(of_one)
        done = [run for run in runs if run.verdict is not Verdict.NOT_RUN]
        figures = [f"{sum(getattr(run, figure) for run in done):,}" for figure in _SUMS]
        held = f"{sum(run.held_seconds for run in done):.1f}"
        peak = f"{max((run.peak_mb for run in done), default=0):.0f}"
        table.add_row(name, str(len(runs)), *figures, held, peak, _verdicts(runs), style=_style(runs))
    return table


def _verdicts(runs: Sequence[RunResult]) -> str:
    counts = {verdict: sum(run.verdict is verdict for run in runs) for verdict in Verdict}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _style(runs: Sequence[RunResult]) -> str:
    if any(run.verdict is Verdict.FAILED for run in runs):
        return "bold red"
    return "" if all(run.verdict is Verdict.PASSED for run in runs) else "yellow"
