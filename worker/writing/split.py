"""Where to cut a refused block, so that the guilty rows stand alone after few inserts.

Guilt mostly belongs to a metric (a rule of the table names it), so the first cut is by metric. Within one metric it is
by halves: k guilty rows among n cost about 2·k·log2(n) inserts.

Where ClickHouse names a row it is the first guilty one. In a large piece, and far from its front, that is a sign that
guilt is rare: after p sound rows about every p-th is guilty. So the row is cut out, what is before it goes in one
piece, and what is after it in pieces of p rows, so that little is sent more than twice. In a small piece the number of
inserts counts, not that of rows: the row is cut out and the rest goes in one piece again, which finds a lone guilty row
in two inserts. A row named near the front is a sign of many; then the rest is halved as well, so that a block full of
guilty rows is not sent again and again whole.
"""

from collections.abc import Iterable, Sequence

from worker.model import Row

_MAX_PIECES = 16
_DENSE = 8
"""A row named in the first eighth of a piece means that more than a few rows are likely to be guilty."""
_RARE = 16
"""A row named behind the first sixteenth means that no more than a few rows are likely to be guilty."""
_LARGE = 2_000
"""Rows that cost about as much as the insert that they go in: 5 ms here, of worker and engine together."""

Rows = Sequence[Row]


def split(rows: Rows, named: int | None = None) -> list[Rows]:
    """Cut `rows` (two or more) into smaller pieces, none empty, that together are the same rows.

    Args:
        rows: a piece that was refused.
        named: position of a row that the refusal named, a hint; None where it named none, or a position outside.
    """
    if named is not None and not 0 <= named < len(rows):
        named = None
    if named is not None and len(rows) > _LARGE and named > len(rows) // _RARE:
        return _before_and_after(rows, named)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if len(metrics) > 1:
        return _by_metric(rows, metrics, named)
    return _halves(rows) if named is None else _around(rows, named)


def _before_and_after(rows: Rows, named: int) -> list[Rows]:
    after = rows[named + 1 :]
    size = max(named, -(-len(after) // _MAX_PIECES))
    pieces = [
        rows[named : named + 1],
        rows[:named],
        *(after[start : start + size] for start in range(0, len(after), size)),
    ]
    return [piece for piece in pieces if piece]


def _by_metric(rows: Rows, metrics: list[str], named: int | None) -> list[Rows]:
    groups: Iterable[list[str]]
    if named is None:
        groups = (metrics[start::_MAX_PIECES] for start in range(_MAX_PIECES))
    else:
        suspect = rows[named].metric
        others = [metric for metric in metrics if metric != suspect]
        cuts = 2 if named < len(rows) // _DENSE else 1
        groups = ([suspect], *(others[start::cuts] for start in range(cuts)))
    return [piece for group in groups if (piece := _of_metrics(rows, frozenset(group)))]


def _of_metrics(rows: Rows, metrics: frozenset[str]) -> Rows:
    return [row for row in rows if row.metric in metrics]


def _around(rows: Rows, named: int) -> list[Rows]:
    guilty, rest = rows[named : named + 1], [*rows[:named], *rows[named + 1 :]]
    dense = named < len(rows) // _DENSE and len(rest) > 1
    return [guilty, *(_halves(rest) if dense else [rest])]


def _halves(rows: Rows) -> list[Rows]:
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]]
