"""Bisection: find the invalid rows of a block that was refused.

A state machine without I/O and without a clock. The writer inserts `next_piece()` and reports the outcome, until there
is no piece left; `failed` then holds the rows that were not written.

- A refused piece is split: by metric first, because a rule mostly concerns one metric, then in halves. A row that is
  refused alone is invalid. k invalid rows among n of one metric cost about 2·k·log2(n) INSERTs.
- A piece that fails with an unclassified code is split as well, by month first: ClickHouse stores each apart. Its rows
  may be invalid, or the store may be failing: `unclassified_failures` tells the two apart. Up to eight rows are
  reserved and inserted last: a later write of them proves that the store accepts rows.
- `SplitBudget` bounds the INSERTs. When it is spent, the rows of a piece are refused together.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.core.outcome import Outcome, OutcomeKind
from worker.events.block import SEVERAL_MONTHS, Block
from worker.writing.splitting import (
    Piece,
    Rows,
    SplitBudget,
    WriteCounter,
    split_by_metric,
    split_by_month,
    split_in_half,
    split_off_middle,
    split_off_reserve,
)
from worker.writing.unclassified_failures import UnclassifiedFailures


class Consequence(NamedTuple):
    """What an outcome has led to.

    Attributes:
        has_split: the piece was split, or some of its rows were refused and the others are left.
        must_wait: the next INSERT should wait, until the store recovers or rows of another block are written.
    """

    has_split: bool = False
    must_wait: bool = False


class Bisection:
    """Splits `piece` until each of its rows is written or has failed.

    Attributes:
        failed: the rows that were not written, with the reason; `budget` is that of the batch.
    """

    def __init__(self, piece: Piece, budget: SplitBudget, writes: WriteCounter) -> None:
        self._pieces: deque[Piece] = deque([piece])
        self.budget = budget
        self._writes = writes
        self._unclassified: UnclassifiedFailures | None = None
        self.failed: list[FailedMetric] = []

    @property
    def has_several_months(self) -> bool:
        """Whether the rows that are left are of more than one month."""
        shared = (piece.block for piece in self._pieces if piece.block.month == SEVERAL_MONTHS)
        return Block.concatenate(SEVERAL_MONTHS, shared).has_several_months

    def next_piece(self) -> Piece | None:
        """The piece to insert next; None when every row is written or has failed."""
        if self._unclassified and self._pieces:
            return self._unclassified.choose_next(self._pieces)
        return self._pieces[0] if self._pieces else None

    def report(self, piece: Piece, outcome: Outcome, violating: Sequence[int] = ()) -> Consequence:
        """Take account of the outcome of an INSERT.

        `violating` has the positions of the rows that violate the constraint of `outcome`, where they are known.
        """
        has_split = must_wait = False
        match outcome.kind:
            case OutcomeKind.WRITTEN:
                self._accept(piece)
            case OutcomeKind.REFUSED if violating:
                has_split = self._refuse_violating(piece, outcome, violating)
            case OutcomeKind.REFUSED if self.budget.may_split(piece.block):
                has_split = True
                self._split(piece, [*piece.block.rows()])
            case OutcomeKind.REFUSED:
                self._refuse(piece, outcome)
            case OutcomeKind.TOO_LARGE:
                has_split = True
                self._replace(piece, split_in_half([*piece.block.rows()]))
            case OutcomeKind.UNCLASSIFIED:
                return self._handle_unclassified(piece, outcome)
            case OutcomeKind.UNAVAILABLE | OutcomeKind.MISCONFIGURED:
                must_wait = True
        return Consequence(has_split, must_wait)

    def take_months(self) -> list[Piece]:
        """Remove every row that is left, of which there is at least one; return those of each month as one piece."""
        pieces, self._pieces = self._pieces, deque()
        months = split_by_month(row for piece in pieces for row in piece.block.rows())
        attempts = max(piece.attempts for piece in pieces)
        return [Piece(Block.from_rows(month, rows), attempts) for month, rows in months.items()]

    def give_up(self, outcome: Outcome) -> None:
        """Fail every row that is left, as `store_unavailable` and with the error of `outcome`, the latest one.

        Pieces that failed before, with other errors, get the same one: `outcome` says that the store is at fault.
        """
        while self._pieces:
            piece = self._pieces.popleft()
            self._add_failed(piece.block, piece, ErrorClass.STORE_UNAVAILABLE, outcome)

    def _accept(self, piece: Piece) -> None:
        if self._unclassified:
            self._unclassified.record_write()
        self._remove(piece)
        self.budget.record_written(piece.block)
        self._writes.record_write()

    def _refuse_violating(self, piece: Piece, outcome: Outcome, violating: Sequence[int]) -> bool:
        """Refuse the rows at `violating`; returns whether others are left."""
        invalid, others = piece.block.split_rows(violating)
        self._remove(piece)
        message = outcome.constraint.message if outcome.constraint else outcome.message
        self._add_failed(invalid, piece, ErrorClass.ROW_REFUSED, outcome._replace(message=message))
        if not others:
            return False
        self._pieces.appendleft(Piece(others, piece.attempts))
        return True

    def _refuse(self, piece: Piece, outcome: Outcome) -> None:
        self._remove(piece)
        is_isolated = len(piece.block) == 1
        if is_isolated:
            self.budget.record_refused_alone(piece.block.metrics[0])
        self._add_failed(piece.block, piece, ErrorClass.ROW_REFUSED, outcome, is_isolated=is_isolated)

    def _handle_unclassified(self, piece: Piece, outcome: Outcome) -> Consequence:
        is_first = self._unclassified is None
        failures = self._unclassified = self._unclassified or UnclassifiedFailures(self._writes)
        failures.record_failure()
        has_split = False
        if failures.is_store_down:
            self._move_to_end(piece)
        elif self.budget.may_split(piece.block, failures.failed_alone):
            has_split = True
            self._split_after_unclassified(piece, keeps_reserve=is_first)
        else:
            self._move_to_end(piece)
            failures.record_suspect(piece)
            if failures.should_refuse(piece):
                self._refuse(piece, outcome)
        if must_wait := failures.must_wait(self._pieces):
            failures.record_wait()
        return Consequence(has_split, must_wait)

    def _split_after_unclassified(self, piece: Piece, *, keeps_reserve: bool) -> None:
        rows: Rows = [*piece.block.rows()]
        reserved, rows = split_off_reserve(rows) if keeps_reserve else ([], rows)
        self._split(piece, rows)
        self._pieces += (piece.part([row], is_reserved=True) for row in reserved)

    def _split(self, piece: Piece, rows: Rows) -> None:
        """Replace `piece` by parts of `rows`; where a sample helps, one row is inserted alone and first."""
        if self._should_sample(piece):
            row, rows = split_off_middle(rows)
            self._pieces.appendleft(piece.part([row]))
            self.budget.record_sample()
        is_shared = self._unclassified is not None and piece.block.has_several_months
        parts = [*split_by_month(rows).values()] if is_shared else split_by_metric(rows)
        self.budget.record_split(piece.block, len(parts))
        self._replace(piece, parts)

    def _should_sample(self, piece: Piece) -> bool:
        if self._unclassified is None:
            return self.budget.should_sample(piece.block)
        return self._unclassified.should_try_one_row or self.budget.should_sample(
            piece.block, self._unclassified.failed_alone
        )

    def _replace(self, piece: Piece, parts: Sequence[Rows]) -> None:
        """Queue `parts` behind the other pieces, so that no part of the block waits for the isolation of another."""
        self._remove(piece)
        self._pieces += (piece.part(rows) for rows in parts)

    def _remove(self, piece: Piece) -> None:
        self._pieces.remove(piece)
        if self._unclassified:
            self._unclassified.forget(piece)

    def _move_to_end(self, piece: Piece) -> None:
        piece.is_reserved = False
        self._pieces.remove(piece)
        self._pieces.append(piece)

    def _add_failed(
        self, block: Block, piece: Piece, error_class: ErrorClass, outcome: Outcome, *, is_isolated: bool = True
    ) -> None:
        failure = Failure(error_class, outcome.name, outcome.message, outcome.code, is_isolated)
        self.failed += (FailedMetric(row.event, row.metric, row.value, failure, piece.attempts) for row in block.rows())
