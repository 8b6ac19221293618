"""Bisection: find the invalid rows of a block that was refused.

A state machine without I/O and without a clock. The writer inserts `next_piece()` and reports the outcome, until there
is no piece left; `failed` then holds the rows that were not written.

- A refused piece is split: by metric first, because a rule mostly concerns one metric, then in halves. A row that is
  refused alone is invalid. k invalid rows among n of one metric cost about 2·k·log2(n) INSERTs.
- A piece that fails with an unclassified code is split as well. Its rows may be invalid, or the store may be failing:
  it is refused only when it cannot be split further, has failed three times, and other rows were written between these
  failures. Up to eight rows are reserved and inserted last: a later write of them proves that the store accepts
  rows.
- `SplitBudget` bounds the INSERTs. When it is spent, the rows of a piece are refused together.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.core.outcome import Outcome, OutcomeKind
from worker.events.block import Block
from worker.writing.splitting import (
    Piece,
    Rows,
    SplitBudget,
    split_by_metric,
    split_in_half,
    split_off_middle,
    split_off_reserve,
)

_FAILURES_TO_REFUSE = 3
_FAILURES_TO_SAMPLE = 5
_FAILURES_OF_STORE = 20
"""Unclassified failures in a row, of pieces that had not failed before, after which the store counts as down."""


@dataclass
class WriteCounter:
    """The number of pieces that one writer has written, of all blocks: evidence that the store accepts rows."""

    pieces: int = 0


class _Priority(IntEnum):
    """Which piece is inserted next; the lowest first."""

    RESERVED_NOW = 0
    ORDINARY = 1
    RESERVED_LATER = 2
    WAITS_FOR_A_WRITE = 3


class Bisection:
    """Splits `piece` until each of its rows is written or has failed.

    Attributes:
        failed: the rows that were not written, with the reason.
        has_split: whether the last report has split a piece.
        must_wait: whether the next INSERT should wait, until the store recovers or rows of another block are written.
    """

    def __init__(self, piece: Piece, budget: SplitBudget, writes: WriteCounter) -> None:
        self._pieces: deque[Piece] = deque([piece])
        self._budget = budget
        self._writes = writes
        self._failures_in_a_row = 0
        self._writes_before_failures = writes.pieces
        self._failed_alone: Counter[str] = Counter()
        self._has_reserve = False
        self._has_waited = False
        self.failed: list[FailedMetric] = []
        self.has_split = False
        self.must_wait = False

    def next_piece(self) -> Piece | None:
        """The piece to insert next; None when every row is written or has failed."""
        return min(self._pieces, key=self._priority, default=None)

    def report(self, piece: Piece, outcome: Outcome, violating: Sequence[int] = ()) -> None:
        """Take account of the outcome of an INSERT.

        `violating` has the positions of the rows that violate the constraint of `outcome`, where they are known.
        """
        self.has_split = self.must_wait = False
        match outcome.kind:
            case OutcomeKind.WRITTEN:
                self._accept(piece)
            case OutcomeKind.REFUSED if violating:
                self._refuse_violating(piece, outcome, violating)
            case OutcomeKind.REFUSED if self._budget.may_split(piece.block):
                self._split(piece, [*piece.block.rows()])
            case OutcomeKind.REFUSED:
                self._refuse(piece, outcome)
            case OutcomeKind.TOO_LARGE:
                self._replace(piece, split_in_half([*piece.block.rows()]))
            case OutcomeKind.UNCLASSIFIED:
                self._handle_unclassified(piece, outcome)
            case OutcomeKind.UNAVAILABLE | OutcomeKind.MISCONFIGURED:
                self.must_wait = True

    def give_up(self, outcome: Outcome) -> None:
        """Fail every row that is left, as `store_unavailable` and with the error of `outcome`, the latest one.

        Pieces that failed before, with other errors, get the same one: `outcome` says that the store is at fault.
        """
        while self._pieces:
            piece = self._pieces.popleft()
            self._add_failed(piece.block, piece, ErrorClass.STORE_UNAVAILABLE, outcome)

    def _priority(self, piece: Piece) -> _Priority:
        if self._waits_for_a_write(piece):
            return _Priority.WAITS_FOR_A_WRITE
        if piece.is_reserved:
            return _Priority.RESERVED_NOW if self._is_store_down() else _Priority.RESERVED_LATER
        return _Priority.ORDINARY

    def _waits_for_a_write(self, piece: Piece) -> bool:
        return piece.counted_failures > 0 and piece.writes_at_failure == self._writes.pieces

    def _is_store_down(self) -> bool:
        """True after 20 unclassified failures in a row of pieces that had not failed before."""
        if self._writes.pieces > self._writes_before_failures:
            return False
        return self._failures_in_a_row >= _FAILURES_OF_STORE + sum(piece.counted_failures > 0 for piece in self._pieces)

    def _accept(self, piece: Piece) -> None:
        if self._has_waited:
            self._has_waited = False
            self._failed_alone.clear()  # the store may have caused these failures
        self._pieces.remove(piece)
        self._budget.record_written(piece.block)
        self._writes.pieces += 1

    def _refuse_violating(self, piece: Piece, outcome: Outcome, violating: Sequence[int]) -> None:
        invalid, others = piece.block.split_rows(violating)
        self._pieces.remove(piece)
        message = outcome.constraint.message if outcome.constraint else outcome.message
        self._add_failed(invalid, piece, ErrorClass.ROW_REFUSED, outcome._replace(message=message))
        if len(others):
            self._pieces.appendleft(Piece(others, piece.attempts))
            self.has_split = True

    def _refuse(self, piece: Piece, outcome: Outcome) -> None:
        self._pieces.remove(piece)
        is_isolated = len(piece.block) == 1
        if is_isolated:
            self._budget.record_refused_alone(piece.block.metrics[0])
        self._add_failed(piece.block, piece, ErrorClass.ROW_REFUSED, outcome, is_isolated=is_isolated)

    def _handle_unclassified(self, piece: Piece, outcome: Outcome) -> None:
        if self._writes.pieces > self._writes_before_failures:
            self._failures_in_a_row, self._writes_before_failures = 0, self._writes.pieces
        self._failures_in_a_row += 1
        has_reserve, self._has_reserve = self._has_reserve, True
        if self._is_store_down():
            self._move_to_end(piece)
        elif self._budget.may_split(piece.block, self._failed_alone):
            reserved, rows = ([], [*piece.block.rows()]) if has_reserve else split_off_reserve([*piece.block.rows()])
            self._split(piece, rows)
            self._pieces += (piece.part([row], is_reserved=True) for row in reserved)
        else:
            self._count_failure(piece, outcome)
        self.must_wait = self._has_nothing_to_try()
        self._has_waited = self._has_waited or self.must_wait

    def _count_failure(self, piece: Piece, outcome: Outcome) -> None:
        """Refuse `piece`, which cannot be split further, at its third failure with writes in between."""
        self._move_to_end(piece)
        if self._waits_for_a_write(piece):
            return
        if not piece.counted_failures and len(piece.block) == 1:
            self._failed_alone[piece.block.metrics[0]] += 1
        piece.counted_failures += 1
        piece.writes_at_failure = self._writes.pieces
        if piece.counted_failures == _FAILURES_TO_REFUSE:
            self._refuse(piece, outcome)

    def _has_nothing_to_try(self) -> bool:
        if not self._pieces:
            return False
        is_reserve_spent = self._is_store_down() and not any(piece.is_reserved for piece in self._pieces)
        return is_reserve_spent or all(map(self._waits_for_a_write, self._pieces))

    def _move_to_end(self, piece: Piece) -> None:
        piece.is_reserved = False
        self._pieces.remove(piece)
        self._pieces.append(piece)

    def _split(self, piece: Piece, rows: Rows) -> None:
        """Replace `piece` by parts of `rows`; where a sample helps, one row is inserted alone and first."""
        if self._failures_in_a_row >= _FAILURES_TO_SAMPLE or self._budget.should_sample(
            piece.block, self._failed_alone
        ):
            row, rows = split_off_middle(rows)
            self._pieces.appendleft(piece.part([row]))
            self._budget.spent += 1
        parts = split_by_metric(rows) if rows else []
        self._budget.record_split(piece.block, len(parts))
        self._replace(piece, parts)

    def _replace(self, piece: Piece, parts: Sequence[Rows]) -> None:
        """Queue `parts` behind the other pieces, so that no part of the block waits for the isolation of another."""
        self._pieces.remove(piece)
        self._pieces += (piece.part(rows) for rows in parts)
        self.has_split = True

    def _add_failed(
        self, block: Block, piece: Piece, error_class: ErrorClass, outcome: Outcome, *, is_isolated: bool = True
    ) -> None:
        failure = Failure(error_class, outcome.name, outcome.message, outcome.code, is_isolated)
        self.failed += (FailedMetric(row.event, row.metric, row.value, failure, piece.attempts) for row in block.rows())
