"""Where to split a refused piece, so that each invalid row is soon the only row of its INSERT."""

from collections.abc import Sequence

from worker.core.model import Row

_MAX_GROUPS = 16
_RESERVED_ROWS = 8

Rows = Sequence[Row]


def split(rows: Rows) -> list[Rows]:
    """Split `rows` by metric into up to 16 groups; in halves where there is one metric only. A single row stays one.

    A rule of the table mostly concerns one metric, so that after the first split the others are written.
    """
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if len(metrics) == 1:
        return split_in_half(rows)
    group_of = {metric: number % _MAX_GROUPS for number, metric in enumerate(metrics)}
    groups: list[list[Row]] = [[] for _ in range(min(len(metrics), _MAX_GROUPS))]
    for row in rows:
        groups[group_of[row.metric]].append(row)
    return [*groups]


def split_in_half(rows: Rows) -> list[Rows]:
    """Split `rows` in the middle. A single row stays one."""
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]] if middle else [rows]


def take_middle(rows: Rows) -> tuple[Row, Rows]:
    """The row in the middle, and the others."""
    middle = len(rows) // 2
    return rows[middle], [*rows[:middle], *rows[middle + 1 :]]


def reserve_rows(rows: Rows) -> tuple[Rows, Rows]:
    """Up to eight rows, of different metrics where there are some, and the others, of which at least one is left."""
    last_of_metric = {row.metric: position for position, row in enumerate(rows)}
    candidates = [*last_of_metric.values(), *range(len(rows) - 1, -1, -1)]
    reserved = list(dict.fromkeys(candidates))[: min(_RESERVED_ROWS, len(rows) - 1)]
    chosen = frozenset(reserved)
    return [rows[position] for position in reserved], [row for at, row in enumerate(rows) if at not in chosen]
