"""A chart of several panels as SVG; it needs no library, and the same numbers give the same bytes."""

from __future__ import annotations

from html import escape
from math import log10
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _HEIGHT = 300, 150
_LEFT, _TOP, _GAP = 46, 64, 44
_GRID, _TEXT = "#d0d7de", "#1f2328"


class Line(NamedTuple):
    """Points (x, y) in ascending order of x; a value is kept until the next one."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """Lines over a day, in hours.

    Attributes:
        ticks: the values of the axis, which ends at the last one.
        is_logarithmic: then it begins at the first one, otherwise at 0.
    """

    title: str
    lines: Sequence[Line]
    ticks: Sequence[int]
    is_logarithmic: bool = False


def draw(rows: Sequence[Sequence[Panel]]) -> str:
    """The panels in rows, with one legend for all, which is that of the first panel."""
    width = _LEFT + max(map(len, rows)) * (_WIDTH + _GAP)
    height = _TOP + len(rows) * (_HEIGHT + _GAP + 14)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<g font-family="sans-serif" font-size="11" fill="{_TEXT}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for position, line in enumerate(rows[0][0].lines):
        x = _LEFT + position * 190
        parts.append(f'<path d="M{x} 17h24" stroke="{line.colour}" stroke-width="3"/>')
        parts.append(_text(x + 30, 21, line.name))
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            parts += _draw_panel(panel, _LEFT + column * (_WIDTH + _GAP), _TOP + number * (_HEIGHT + _GAP + 14))
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _draw_panel(panel: Panel, left: float, top: float) -> list[str]:
    parts = [_text(left, top - 10, panel.title)]
    for tick in panel.ticks:
        y = top + _HEIGHT * (1 - _scale(panel, tick))
        parts.append(f'<path d="M{left} {y:.1f}h{_WIDTH}" stroke="{_GRID}"/>')
        parts.append(_text(left - 5, y + 4, f"{tick:,}", anchor="end"))
    parts += [
        _text(left + _WIDTH * hour / 24, top + _HEIGHT + 15, f"{hour}", anchor="middle") for hour in range(0, 25, 6)
    ]
    for line in panel.lines:
        path, before = "", None
        for hour, value in line.points:
            x, y = left + _WIDTH * hour / 24, top + _HEIGHT * (1 - _scale(panel, value))
            path += f"M{x:.1f} {y:.1f}" if before is None else f"H{x:.1f}" + ("" if y == before else f"V{y:.1f}")
            before = y
        parts.append(f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-width="1.5"/>')
    return parts


def _scale(panel: Panel, value: float) -> float:
    """From 0 at the bottom to 1 at the top."""
    first, last = panel.ticks[0], panel.ticks[-1]
    if not panel.is_logarithmic:
        return min(value / last, 1.0)
    return log10(min(max(value, first), last) / first) / log10(last / first)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
