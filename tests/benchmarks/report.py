"""The figures for people: tables on a terminal, and a chart as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pygal
from pygal.style import CleanStyle
from rich.console import Console
from rich.table import Table

from tests.benchmarks.environment import Figures

_WIDTH = 170
"""When the output is no terminal, so that a file has complete tables."""


def print_tables(results: Mapping[str, Sequence[Figures]], *, stderr: bool) -> None:
    """One table for each selection. Up to three lines become columns."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console = Console(stderr=stderr, width=_WIDTH)
    for title, lines in results.items():
        if lines:
            console.print(_build_vertical(title, lines) if len(lines) <= 3 else _build_horizontal(title, lines))


def _build_horizontal(title: str, lines: Sequence[Figures]) -> Table:
    table = Table(title=title)
    for name, value in lines[0].items():
        table.add_column(name.replace("_", " "), justify="left" if isinstance(value, str) else "right")
    for line in lines:
        table.add_row(*map(_format, line.values()))
    return table


def _build_vertical(title: str, lines: Sequence[Figures]) -> Table:
    table = Table(title=title, show_header=False)
    for name in lines[0]:
        table.add_row(name.replace("_", " "), *(_format(line.get(name, "")) for line in lines))
    return table


def _format(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def draw_chart(path: Path, lines: Sequence[Figures]) -> None:
    """Draw rows a second by batch size, with a curve for each number of metrics per event."""
    drawing = pygal.XY(
        style=CleanStyle,
        js=[],
        logarithmic=True,
        title="One worker: rows a second against the size of a batch",
        x_title="events in a batch (BATCH_MAX_EVENTS)",
        y_title="rows a second",
        width=900,
        height=500,
        legend_at_bottom=True,
        truncate_legend=-1,
        value_formatter=lambda value: f"{value:,.0f}",
    )
    drawing.x_labels = sorted({float(line["batch_max_events"]) for line in lines})
    drawing.y_labels = [10.0**power * step for power in range(3, 7) for step in (1, 3)]
    for metrics in dict.fromkeys(line["metrics_per_event"] for line in lines):
        curve = [
            (float(line["batch_max_events"]), float(line["rows_per_second"]))
            for line in lines
            if line["metrics_per_event"] == metrics
        ]
        drawing.add("1 metric an event" if metrics == 1 else f"{metrics} metrics an event", curve)
    path.write_bytes(drawing.render())
