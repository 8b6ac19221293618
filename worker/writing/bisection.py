"""Bisection: which rows of a refused block are invalid.

A state machine without I/O and without a clock. The writer inserts `next_piece()` and reports the outcome, until there
is no piece left; `failed` then holds the rows that were not written.

- A refused piece is cut: by metric first, because a rule mostly concerns one metric, then in halves. A single refused
  row is invalid. k invalid rows among n of one metric cost about 2·k·log2(n) inserts.
- A piece that fails with an unclassified code may be invalid, or the store may be failing. It is cut as well, but a row
  is invalid only when it has failed alone three times, each with a budget of its own, and other rows were written
  between each of them. A few rows of the block are kept back for that: they are inserted last.
- `stuck` says that the last outcome tells nothing of the rows, and that no other piece is left which could.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.block import Block
from worker.errors import ErrorClass
from worker.model import FailedMetric, Failure, Row
from worker.outcome import Outcome, OutcomeKind
from worker.writing.cutting import cut, halves, reserve, take_sample

_FAILURES_ALONE = 3
_CUTS_BEFORE_SAMPLES = 4
_WAITING = 3
"""The last rank of a piece."""
_UNCLASSIFIED_IN_A_ROW = 20
"""So many pieces that fail with an unclassified code, and nothing written in between: the store is failing."""


@dataclass(eq=False, slots=True)
class Piece:
    """Rows of a block that go into one INSERT.

    Attributes:
        block: the rows.
        attempts: how many INSERTs have held them.
        first_sent: when the first of these was sent, on the monotonic clock; None before it.
        is_suspect: whether it, or the piece that it was cut from, has failed with an unclassified code.
        is_reserved: whether it is inserted last, as evidence that the store accepts rows.
        failures: how often it has failed alone with an unclassified code, not counting failures without a written
            piece between them.
        written_before: how many pieces had been written when it last failed.
    """

    block: Block
    attempts: int = 0
    first_sent: float | None = None
    is_suspect: bool = False
    is_reserved: bool = False
    failures: int = 0
    written_before: int = 0


@dataclass
class Progress:
    """What one writer has written so far, in all blocks: evidence that the store accepts rows.

    Attributes:
        pieces: how many pieces.
    """

    pieces: int = 0


@dataclass
class IsolationBudget:
    """How many pieces one batch may be cut into to isolate invalid rows; its blocks share it.

    Where it ends, the rows of a refused piece are refused together. They are marked as not isolated, because some of
    them may be valid, and can be replayed.

    Attributes:
        limit: pieces at most.
        never_written: pieces at most for metrics of which nothing was written in this batch.
        refused_alone: how many rows of one such metric are refused alone before its other rows are refused together.
        spent: pieces so far.
    """

    limit: int = 1_000
    never_written: int = 300
    refused_alone: int = 8
    spent: int = 0
    _cuts: Counter[str] = field(default_factory=Counter)
    _refused_alone: Counter[str] = field(default_factory=Counter)
    _written_blocks: list[Block] = field(default_factory=list)
    _written_metrics: set[str] = field(default_factory=set)

    def record_written(self, block: Block) -> None:
        """Note that the rows of `block` were written."""
        self._written_blocks.append(block)

    def record_refused_alone(self, metric: str) -> None:
        """Note that a row of `metric` was refused alone."""
        self._refused_alone[metric] += 1

    def record_cut(self, block: Block, parts: int) -> None:
        """Note that `block` is cut into `parts`."""
        self.spent += parts
        if len(names := set(block.metrics)) == 1:
            self._cuts.update(names)

    def allows_to_cut(self, block: Block) -> bool:
        """Whether the invalid rows of `block` may be isolated further."""
        names = set(block.metrics)
        if len(block) == 1 or self.spent >= self.limit:
            return False
        if not self._never_written(block):
            return True
        rare = len(names) > 1 or self._refused_alone[names.pop()] < self.refused_alone
        return rare and self.spent < self.never_written

    def wants_sample(self, block: Block) -> bool:
        """Whether a row of `block` shall be inserted alone, to tell a metric that is always refused from invalid rows.

        Not at the first cuts: where invalid rows are rare, one of their parts is written.
        """
        names = set(block.metrics)
        return len(names) == 1 and self._cuts[names.pop()] >= _CUTS_BEFORE_SAMPLES and self._never_written(block)

    def _never_written(self, block: Block) -> bool:
        return set(block.metrics).isdisjoint(self._metrics_written())

    def _metrics_written(self) -> set[str]:
        while self._written_blocks:
            self._written_metrics.update(self._written_blocks.pop().metrics)
        return self._written_metrics


class Bisection:
    """Cuts `block` into pieces until each row is written or has failed.

    Attributes:
        failed: the rows that were not written, with the reason.
        stuck: whether nothing more can be learned by inserting now: wait and insert `next_piece()` again, or abandon.
    """

    def __init__(self, block: Block, budget: IsolationBudget, progress: Progress) -> None:
        self._pieces: deque[Piece] = deque([Piece(block)] if len(block) else [])
        self._budget = budget
        self._progress = progress
        self._unclassified_in_a_row = 0
        self._written_before = progress.pieces
        self.failed: list[FailedMetric] = []
        self.stuck = False

    def next_piece(self) -> Piece | None:
        """The piece to insert next; None when every row is written or has failed."""
        return min(self._pieces, key=self._rank, default=None)

    def report(self, piece: Piece, outcome: Outcome, violating: Sequence[int] = ()) -> None:
        """Take account of the outcome of inserting `piece`.

        Args:
            piece: what `next_piece` gave.
            outcome: what became of its rows.
            violating: where the outcome names a constraint, positions of the rows that violate it, as the store says.
        """
        self.stuck = False
        match outcome.kind:
            case OutcomeKind.WRITTEN:
                self._accept(piece)
            case OutcomeKind.REFUSED if violating and self._budget.spent < self._budget.limit:
                self._remove_violating(piece, outcome, violating)
            case OutcomeKind.REFUSED:
                self._refuse(piece, outcome)
            case OutcomeKind.TOO_LARGE:
                self._replace(piece, halves([*piece.block.rows()]))
            case OutcomeKind.UNCLASSIFIED:
                self._suspect(piece, outcome)
            case OutcomeKind.UNAVAILABLE | OutcomeKind.MISCONFIGURED:
                self.stuck = True

    def abandon(self, outcome: Outcome) -> None:
        """Fail every row that is left because the store is unavailable."""
        for piece in [*self._pieces]:
            self._fail(piece, ErrorClass.STORE_UNAVAILABLE, outcome)

    def _rank(self, piece: Piece) -> int:
        """Lower goes first; among equals the one that was queued first."""
        if piece.failures and self._progress.pieces == piece.written_before:
            return _WAITING  # to insert it again proves nothing before another piece is written
        if piece.is_reserved:
            return 0 if self._fails_at_everything() else 2
        return 1

    def _accept(self, piece: Piece) -> None:
        self._pieces.remove(piece)
        self._budget.record_written(piece.block)
        self._progress.pieces += 1

    def _remove_violating(self, piece: Piece, outcome: Outcome, violating: Sequence[int]) -> None:
        invalid, others = piece.block.divided(violating)
        self._pieces.remove(piece)
        self._budget.spent += 1
        message = outcome.constraint.violated if outcome.constraint else outcome.message
        self._add_failed(invalid, piece, ErrorClass.ROW_REFUSED, outcome._replace(message=message))
        if len(others):
            self._pieces.appendleft(Piece(others, piece.attempts, is_suspect=piece.is_suspect))

    def _refuse(self, piece: Piece, outcome: Outcome) -> None:
        if self._budget.allows_to_cut(piece.block):
            self._isolate(piece, [*piece.block.rows()])
        else:
            self._fail(piece, ErrorClass.ROW_REFUSED, outcome)

    def _suspect(self, piece: Piece, outcome: Outcome) -> None:
        if self._progress.pieces > self._written_before:
            self._unclassified_in_a_row, self._written_before = 0, self._progress.pieces
        self._unclassified_in_a_row += 1
        if self._fails_at_everything() and not piece.is_reserved:
            self._move_to_end(piece)
            self.stuck = not any(other.is_reserved for other in self._pieces)
        elif self._budget.allows_to_cut(piece.block):
            self._isolate_suspect(piece)
        else:
            self._count_failure(piece, outcome)

    def _fails_at_everything(self) -> bool:
        """Whether so many pieces have failed in a row that the store, not their rows, seems to be at fault."""
        nothing_written = self._progress.pieces == self._written_before
        return nothing_written and self._unclassified_in_a_row >= _UNCLASSIFIED_IN_A_ROW

    def _isolate_suspect(self, piece: Piece) -> None:
        rows = [*piece.block.rows()]
        if piece.is_suspect:
            self._isolate(piece, rows)
            return
        piece.is_suspect = True
        reserved, others = reserve(rows)
        self._isolate(piece, others)
        self._pieces += (self._part(piece, [row], is_reserved=True) for row in reserved)

    def _count_failure(self, piece: Piece, outcome: Outcome) -> None:
        """The piece cannot be cut further: it is invalid at its third failure."""
        piece.is_reserved = False
        if not piece.is_suspect:
            piece.is_suspect = True  # this failure had the budget of a block, or that of a trial
        elif not piece.failures or self._progress.pieces > piece.written_before:
            if not piece.failures and len(piece.block) == 1:
                self._budget.record_refused_alone(piece.block.metrics[0])
            piece.failures += 1
            piece.written_before = self._progress.pieces
        if piece.failures == _FAILURES_ALONE:
            self._fail(piece, ErrorClass.ROW_REFUSED, outcome)
        else:
            self._move_to_end(piece)
            self.stuck = all(self._rank(other) == _WAITING for other in self._pieces)

    def _move_to_end(self, piece: Piece) -> None:
        self._pieces.remove(piece)
        self._pieces.append(piece)

    def _isolate(self, piece: Piece, rows: Sequence[Row]) -> None:
        if self._budget.wants_sample(piece.block):
            row, rows = take_sample(rows)
            self._pieces.appendleft(self._part(piece, [row]))
        parts = cut(rows)
        self._budget.record_cut(piece.block, len(parts))
        self._replace(piece, parts)

    def _replace(self, piece: Piece, parts: Sequence[Sequence[Row]]) -> None:
        """Queue the parts of `piece` behind the other pieces, so that no part of the block has to wait for another."""
        self._pieces.remove(piece)
        self._pieces += (self._part(piece, rows) for rows in parts)

    @staticmethod
    def _part(piece: Piece, rows: Sequence[Row], *, is_reserved: bool = False) -> Piece:
        block = Block.of(piece.block.month, rows)
        return Piece(block, piece.attempts, is_suspect=piece.is_suspect, is_reserved=is_reserved)

    def _fail(self, piece: Piece, error_class: ErrorClass, outcome: Outcome) -> None:
        self._pieces.remove(piece)
        if len(piece.block) == 1:
            self._budget.record_refused_alone(piece.block.metrics[0])
        alone = len(piece.block) == 1 or error_class is not ErrorClass.ROW_REFUSED
        self._add_failed(piece.block, piece, error_class, outcome, isolated=alone)

    def _add_failed(
        self, block: Block, piece: Piece, error_class: ErrorClass, outcome: Outcome, *, isolated: bool = True
    ) -> None:
        failure = Failure(error_class, outcome.name, outcome.message, outcome.code, isolated)
        self.failed += (FailedMetric(row.event, row.metric, row.value, failure, piece.attempts) for row in block.rows())
