"""Bisection: which rows of a refused block are invalid.

A state machine without I/O and without a clock. The writer inserts `next_piece()` and reports the outcome, until there
is no piece left; `failed` then holds the rows that were not written.

- A refused piece is split: by metric first, because a rule mostly concerns one metric, then in halves. A row that is
  refused alone is invalid. k invalid rows among n of one metric cost about 2·k·log2(n) INSERTs.
- A piece that fails with an unclassified code is split as well. It may be invalid, or the store may be failing: it is
  refused only when it cannot be split further, has failed three times, and other rows were written between these
  failures. Up to eight rows are inserted last, so that there is something to write.
- `IsolationBudget` bounds the INSERTs. Where it ends, the rows of a piece are refused together.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure, Row
from worker.core.outcome import Outcome, OutcomeKind
from worker.events.block import Block
from worker.writing.budget import IsolationBudget
from worker.writing.splitting import reserve_rows, split, split_in_half, take_middle

_FAILURES_TO_REFUSE = 3
_STREAK_TO_SAMPLE = 5
_LONGEST_STREAK = 20
"""So many unclassified failures in a row, of pieces that had not failed before, and nothing written in between: the
store looks down."""


@dataclass
class WriteCounter:
    """How many pieces one writer has written, of whatever block: evidence that the store accepts rows."""

    pieces: int = 0


class _Priority(IntEnum):
    """Which piece is inserted next; the lowest first."""

    EVIDENCE_NOW = 0
    ORDINARY = 1
    EVIDENCE_LATER = 2
    WAITS_FOR_A_WRITE = 3


@dataclass(eq=False, slots=True)
class Piece:
    """Rows of a block that go into one INSERT.

    Attributes:
        block: the rows.
        attempts: how many INSERTs have held them.
        first_sent: when the first of these was sent, on the monotonic clock; None before it.
        is_reserved: whether it is kept back, to be written as evidence that the store accepts rows.
        counted_failures: unclassified failures, not counting those without a write since the one before.
        writes_at_failure: how many pieces had been written when it last failed.
    """

    block: Block
    attempts: int = 0
    first_sent: float | None = None
    is_reserved: bool = False
    counted_failures: int = 0
    writes_at_failure: int = 0


class Bisection:
    """Splits `block` into pieces until each row is written or has failed.

    Attributes:
        failed: the rows that were not written, with the reason.
        has_split: whether the last report has split a piece.
        must_wait: whether no INSERT is of use before the store recovers or rows of another block are written.
    """

    def __init__(self, block: Block, budget: IsolationBudget, writes: WriteCounter) -> None:
        self._pieces: deque[Piece] = deque([Piece(block)] if len(block) else [])
        self._budget = budget
        self._writes = writes
        self._streak = 0
        self._writes_at_streak = writes.pieces
        self._failed_alone: Counter[str] = Counter()
        self._has_waited = False
        self.failed: list[FailedMetric] = []
        self.has_split = False
        self._is_in_doubt = False
        self.must_wait = False

    def next_piece(self) -> Piece | None:
        """The piece to insert next; None when every row is written or has failed."""
        return min(self._pieces, key=self._priority, default=None)

    def report(self, piece: Piece, outcome: Outcome, violating: Sequence[int] = ()) -> None:
        """Take account of the outcome of inserting `piece`.

        Args:
            piece: what `next_piece` gave.
            outcome: what became of its rows.
            violating: where the outcome names a constraint, positions of the rows that violate it, as the store says.
        """
        self.has_split = self.must_wait = False
        match outcome.kind:
            case OutcomeKind.WRITTEN:
                self._accept(piece)
            case OutcomeKind.REFUSED if violating:
                self._remove_violating(piece, outcome, violating)
            case OutcomeKind.REFUSED:
                self._refuse(piece, outcome)
            case OutcomeKind.TOO_LARGE:
                self._replace(piece, split_in_half([*piece.block.rows()]))
            case OutcomeKind.UNCLASSIFIED:
                self._handle_ambiguous(piece, outcome)
            case OutcomeKind.UNAVAILABLE | OutcomeKind.MISCONFIGURED:
                self.must_wait = True

    def give_up(self, outcome: Outcome) -> None:
        """Fail every row that is left because the store is unavailable."""
        for piece in [*self._pieces]:
            self._fail(piece, ErrorClass.STORE_UNAVAILABLE, outcome)

    def _priority(self, piece: Piece) -> _Priority:
        if piece.counted_failures and self._writes.pieces == piece.writes_at_failure:
            return _Priority.WAITS_FOR_A_WRITE
        if piece.is_reserved:
            return _Priority.EVIDENCE_NOW if self._store_looks_down() else _Priority.EVIDENCE_LATER
        return _Priority.ORDINARY

    def _accept(self, piece: Piece) -> None:
        if self._has_waited:
            self._has_waited = False
            self._failed_alone.clear()  # these failures may have been the store's
        self._pieces.remove(piece)
        self._budget.record_written(piece.block)
        self._writes.pieces += 1

    def _remove_violating(self, piece: Piece, outcome: Outcome, violating: Sequence[int]) -> None:
        invalid, others = piece.block.partition_rows(violating)
        self._pieces.remove(piece)
        message = outcome.constraint.violated if outcome.constraint else outcome.message
        self._add_failed(invalid, piece, ErrorClass.ROW_REFUSED, outcome._replace(message=message))
        if len(others):
            self._pieces.appendleft(Piece(others, piece.attempts))
            self.has_split = True

    def _refuse(self, piece: Piece, outcome: Outcome) -> None:
        if self._budget.may_split(piece.block):
            self._isolate(piece, [*piece.block.rows()])
        else:
            self._fail(piece, ErrorClass.ROW_REFUSED, outcome)

    def _handle_ambiguous(self, piece: Piece, outcome: Outcome) -> None:
        is_first, self._is_in_doubt = not self._is_in_doubt, True
        if self._writes.pieces > self._writes_at_streak:
            self._streak, self._writes_at_streak = 0, self._writes.pieces
        self._streak += 1
        if self._store_looks_down():
            self._move_to_end(piece)
        elif self._budget.may_split(piece.block, self._failed_alone):
            rows: Sequence[Row] = [*piece.block.rows()]
            reserved, rows = reserve_rows(rows) if is_first else ([], rows)
            self._isolate(piece, rows)
            self._pieces += (self._part(piece, [row], is_reserved=True) for row in reserved)
        else:
            self._count_failure(piece, outcome)
        self.must_wait = bool(self._pieces) and (self._all_wait() or self._evidence_is_spent())
        self._has_waited = self._has_waited or self.must_wait

    def _count_failure(self, piece: Piece, outcome: Outcome) -> None:
        """The piece cannot be split further: it is refused at its third failure."""
        self._move_to_end(piece)
        if piece.counted_failures and self._writes.pieces == piece.writes_at_failure:
            return
        if not piece.counted_failures and len(piece.block) == 1:
            self._failed_alone[piece.block.metrics[0]] += 1
        piece.counted_failures += 1
        piece.writes_at_failure = self._writes.pieces
        if piece.counted_failures == _FAILURES_TO_REFUSE:
            self._fail(piece, ErrorClass.ROW_REFUSED, outcome)

    def _all_wait(self) -> bool:
        return all(self._priority(piece) is _Priority.WAITS_FOR_A_WRITE for piece in self._pieces)

    def _evidence_is_spent(self) -> bool:
        return self._store_looks_down() and not any(piece.is_reserved for piece in self._pieces)

    def _store_looks_down(self) -> bool:
        """Whether more pieces have failed in a row than those that are known to fail."""
        if self._writes.pieces > self._writes_at_streak:
            return False
        return self._streak >= _LONGEST_STREAK + sum(piece.counted_failures > 0 for piece in self._pieces)

    def _isolate(self, piece: Piece, rows: Sequence[Row]) -> None:
        """Split `piece` into parts of `rows`; where it tells something, one of the rows is inserted alone and first."""
        if self._streak >= _STREAK_TO_SAMPLE or self._budget.should_sample(piece.block, self._failed_alone):
            row, rows = take_middle(rows)
            self._pieces.appendleft(self._part(piece, [row]))
            self._budget.spent += 1
        parts = split(rows) if rows else []
        self._budget.record_split(piece.block, len(parts))
        self._replace(piece, parts)

    def _move_to_end(self, piece: Piece) -> None:
        piece.is_reserved = False
        self._pieces.remove(piece)
        self._pieces.append(piece)

    def _replace(self, piece: Piece, parts: Sequence[Sequence[Row]]) -> None:
        """Queue the parts of `piece` behind the other pieces, so that no part of the block has to wait for another."""
        self._pieces.remove(piece)
        self._pieces += (self._part(piece, rows) for rows in parts)
        self.has_split = True

    @staticmethod
    def _part(piece: Piece, rows: Sequence[Row], *, is_reserved: bool = False) -> Piece:
        return Piece(Block.from_rows(piece.block.month, rows), piece.attempts, is_reserved=is_reserved)

    def _fail(self, piece: Piece, error_class: ErrorClass, outcome: Outcome) -> None:
        self._pieces.remove(piece)
        is_refused = error_class is ErrorClass.ROW_REFUSED
        if is_refused and len(piece.block) == 1:
            self._budget.record_refused_alone(piece.block.metrics[0])
        isolated = len(piece.block) == 1 or not is_refused
        self._add_failed(piece.block, piece, error_class, outcome, isolated=isolated)

    def _add_failed(
        self, block: Block, piece: Piece, error_class: ErrorClass, outcome: Outcome, *, isolated: bool = True
    ) -> None:
        failure = Failure(error_class, outcome.name, outcome.message, outcome.code, isolated)
        self.failed += (FailedMetric(row.event, row.metric, row.value, failure, piece.attempts) for row in block.rows())
