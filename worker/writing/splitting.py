"""Splitting refused rows: the pieces, where to split them, and how many there may be."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from worker.core.model import Row
from worker.core.times import DAY
from worker.events.block import Block
from worker.events.completed_at import month_of_day

_MAX_GROUPS = 16
"""One split takes 1.6 % of the pieces of a batch at most, and an event mostly has fewer metrics."""
_MAX_RESERVED_ROWS = 8
"""Each is one write at the end, as evidence; a row that is refused needs two of them, between its three failures."""
_SPLITS_BEFORE_SAMPLES = 4
"""With few invalid rows some part is written by then: it has a sixteenth of the rows."""

Rows = Sequence[Row]


@dataclass(eq=False, slots=True)
class Piece:
    """Rows of a block that go into one INSERT.

    Attributes:
        block: the rows.
        attempts: how many INSERTs have held these rows, in this piece or in those that it was split from.
        first_sent: when this piece was first sent, on the monotonic clock in seconds; None before.
        is_reserved: whether it is kept back; a write of it proves that the store accepts rows.
    """

    block: Block
    attempts: int = 0
    first_sent: float | None = None
    is_reserved: bool = False

    def part(self, rows: Rows, *, is_reserved: bool = False) -> "Piece":
        """A piece of some `rows` of this one."""
        return Piece(Block.from_rows(self.block.month, rows), self.attempts, is_reserved=is_reserved)


class WriteCounter:
    """Counts the pieces that one writer has written, of all blocks: evidence that the store accepts rows.

    Attributes:
        pieces: their number.
    """

    def __init__(self) -> None:
        self.pieces = 0

    def record_write(self) -> None:
        """Count one piece."""
        self.pieces += 1


def split_by_metric(rows: Rows) -> list[Rows]:
    """Split `rows` by metric into at most 16 groups; rows of a single metric in halves.

    A rule of the table mostly concerns one metric, so that after this split the rows of the others are written.
    """
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if len(metrics) == 1:
        return split_in_half(rows)
    group_of = {metric: number % _MAX_GROUPS for number, metric in enumerate(metrics)}
    groups: list[list[Row]] = [[] for _ in range(min(len(metrics), _MAX_GROUPS))]
    for row in rows:
        groups[group_of[row.metric]].append(row)
    return [*groups]


def split_by_month(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """The `rows` of each month of `completed_at`, by `Block.month`."""
    months: dict[int, list[Row]] = {}
    for row in rows:
        months.setdefault(_month_of(row), []).append(row)
    return months


def split_in_half(rows: Rows) -> list[Rows]:
    """Split `rows` in the middle; a single row stays one part."""
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]] if middle else [rows]


def split_off_middle(rows: Rows) -> tuple[Row, Rows]:
    """The row in the middle, and the other rows."""
    middle = len(rows) // 2
    return rows[middle], [*rows[:middle], *rows[middle + 1 :]]


def split_off_reserve(rows: Rows) -> tuple[Rows, Rows]:
    """Up to eight rows, of different months and metrics where possible, and the others, at least one."""
    positions_of: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        positions_of.setdefault(_month_of(row), []).append(position)
    of_months = (_reserve_candidates(rows, positions) for positions in positions_of.values())
    in_turn = chain.from_iterable(zip_longest(*of_months))
    candidates = [position for position in in_turn if position is not None]
    reserved = candidates[: min(_MAX_RESERVED_ROWS, len(rows) - 1)]
    chosen = frozenset(reserved)
    return [rows[position] for position in reserved], [row for at, row in enumerate(rows) if at not in chosen]


def _reserve_candidates(rows: Rows, positions: Sequence[int]) -> Iterable[int]:
    """The `positions`, the last one of each metric first."""
    last_of_metric = {rows[position].metric: position for position in positions}
    return dict.fromkeys([*last_of_metric.values(), *reversed(positions)])


def _month_of(row: Row) -> int:
    return month_of_day(row.event.completed_at // DAY)


@dataclass
class SplitBudget:
    """Bounds the pieces that a batch of at most 200,000 rows is split into; its blocks share the budget.

    When the budget is spent, the rows of a refused piece are refused together. They are marked as not isolated: some
    may be valid, and all can be replayed.

    Attributes:
        max_pieces: pieces of all metrics.
        max_pieces_in_doubt: pieces of metrics of which no row was written yet, or after unclassified failures.
        max_single_refusals: rows of one such metric that are refused alone before its pieces are not split any more.
        spent: pieces so far.
    """

    max_pieces: int = 1_000
    max_pieces_in_doubt: int = 300
    max_single_refusals: int = 8
    spent: int = field(init=False, default=0)
    _splits: Counter[str] = field(init=False, default_factory=Counter)
    _refused_alone: Counter[str] = field(init=False, default_factory=Counter)
    _written_blocks: list[Block] = field(init=False, default_factory=list)
    _written_metrics: set[str] = field(init=False, default_factory=set)

    def record_written(self, block: Block) -> None:
        """Take account of `block`, whose rows were written."""
        self._written_blocks.append(block)

    def record_refused_alone(self, metric: str) -> None:
        """Take account of a row of `metric` that was refused alone."""
        self._refused_alone[metric] += 1

    def record_split(self, block: Block, parts: int) -> None:
        """Take account of a split of `block` into `parts`."""
        self.spent += parts
        if len(metrics := set(block.metrics)) == 1:
            self._splits.update(metrics)

    def record_sample(self) -> None:
        """Take account of a row that was split off, to be inserted alone."""
        self.spent += 1

    def may_split(self, block: Block, failed_alone: Counter[str] | None = None) -> bool:
        """Whether a piece with the rows of `block` may be split further.

        After an unclassified failure `failed_alone` counts the rows of each metric that have failed alone.
        """
        if len(block) == 1 or self.spent >= self.max_pieces:
            return False
        metrics = set(block.metrics)
        is_written = self._is_written(metrics)
        if (failed_alone is not None or not is_written) and self.spent >= self.max_pieces_in_doubt:
            return False
        if is_written or len(metrics) > 1:
            return True
        return self._count_failed_alone(metrics.pop(), failed_alone) < self.max_single_refusals

    def should_sample(self, block: Block, failed_alone: Counter[str] | None = None) -> bool:
        """Whether one row of `block` should be inserted alone, to find out soon whether all of a metric is refused.

        Only after four splits: with few invalid rows one part is written anyway.
        """
        metrics = set(block.metrics)
        if len(metrics) > 1 or self._is_written(metrics):
            return False
        (metric,) = metrics
        is_known = self._count_failed_alone(metric, failed_alone) >= self.max_single_refusals
        return self._splits[metric] >= _SPLITS_BEFORE_SAMPLES and not is_known

    def _count_failed_alone(self, metric: str, failed_alone: Counter[str] | None) -> int:
        return self._refused_alone[metric] + (failed_alone[metric] if failed_alone else 0)

    def _is_written(self, metrics: set[str]) -> bool:
        """Whether a row of any of `metrics` was written."""
        while self._written_blocks:
            self._written_metrics.update(self._written_blocks.pop().metrics)
        return not metrics.isdisjoint(self._written_metrics)
