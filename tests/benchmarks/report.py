"""The figures as tables on a terminal."""

from collections.abc import Mapping, Sequence

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
