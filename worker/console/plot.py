"""Counts as the path of a drawing. Pages have no script, and the style of a drawing is in the style sheet."""

from typing import NamedTuple

from worker.console.open_over_time import HourlyCounts

WIDTH, HEIGHT = 720, 120
"""Units of the drawing, which a page stretches."""


class Plot(NamedTuple):
    """A drawing of `WIDTH` times `HEIGHT`.

    Attributes:
        line, area: paths of SVG: a step for each hour, and what is below them.
        hours: what is drawn; the full height stands for its highest count.
    """

    line: str
    area: str
    hours: HourlyCounts
    view_box: str = f"0 0 {WIDTH} {HEIGHT}"


def draw(hours: HourlyCounts) -> Plot:
    """The drawing of counts by hour."""
    highest = max(hours.highest, 1)
    step = WIDTH / len(hours.counts)
    parts, drawn = [f"M0,{_height(hours.counts[0], highest)}"], hours.counts[0]
    for number, count in enumerate(hours.counts):
        if count != drawn:
            parts.append(f"H{number * step:.1f}V{_height(count, highest)}")
            drawn = count
    line = "".join([*parts, f"H{WIDTH}"])
    return Plot(line, f"{line}V{HEIGHT}H0Z", hours)


def _height(count: int, highest: int) -> str:
    return f"{HEIGHT - HEIGHT * count / highest:.1f}"
