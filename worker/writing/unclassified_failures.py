"""What the unclassified failures of a block show: either some of its rows are invalid, or the store is failing.

A write of other rows tells the two apart. So a piece that cannot be split further, a *suspect*, is refused only after
three failures with a write between each. Without any write, failures of many pieces show that the store is down.
"""

from collections import Counter
from collections.abc import Collection
from enum import IntEnum
from typing import NamedTuple

from worker.writing.splitting import Piece, WriteCounter

_FAILURES_TO_REFUSE = 3
"""Each after the attempts that `insert_attempts` makes, so that hardly any store fails so often by chance."""
_FAILURES_TO_SAMPLE = 5
"""Beside one invalid row the other parts are written. After so many failures in a row most parts have an invalid row,
or the store is down, and one row shows that sooner than another part."""
_FAILURES_OF_STORE = 20
"""More than a block and the 16 parts of its split, of which each may have an invalid row of its own."""


class _Suspect(NamedTuple):
    """Failures of a piece, those without a write in between counted once; `writes` is their counter at the last one."""

    failures: int = 0
    writes: int = -1


class _Priority(IntEnum):
    """Which piece is inserted next; the lowest first."""

    RESERVED_NOW = 0
    ORDINARY = 1
    RESERVED_LATER = 2
    WAITS_FOR_A_WRITE = 3


class UnclassifiedFailures:
    """The unclassified failures of one block, from the first one on.

    Args:
        writes: of the writer, of all blocks.

    Attributes:
        failed_alone: how many rows of each metric have failed alone, the store being up as far as is known.
    """

    def __init__(self, writes: WriteCounter) -> None:
        self._writes = writes
        self._writes_before_failures = writes.pieces
        self._failures_in_a_row = 0
        self._suspects: dict[Piece, _Suspect] = {}
        self._has_waited = False
        self.failed_alone: Counter[str] = Counter()

    @property
    def should_try_one_row(self) -> bool:
        """Whether so many INSERTs in a row have failed that a single row should be tried next."""
        return self._failures_in_a_row >= _FAILURES_TO_SAMPLE

    @property
    def is_store_down(self) -> bool:
        """Whether 20 INSERTs in a row have failed, without those that only repeat a suspect."""
        if self._writes.pieces > self._writes_before_failures:
            return False
        return self._failures_in_a_row >= _FAILURES_OF_STORE + len(self._suspects)

    def record_failure(self) -> None:
        """Take account of an unclassified failure of any piece."""
        if self._writes.pieces > self._writes_before_failures:
            self._failures_in_a_row, self._writes_before_failures = 0, self._writes.pieces
        self._failures_in_a_row += 1

    def record_suspect(self, piece: Piece) -> None:
        """Take account of a failure of `piece`, which cannot be split further."""
        if self._waits_for_a_write(piece):
            return
        suspect = self._suspects.get(piece, _Suspect())
        if not suspect.failures and len(piece.block) == 1:
            self.failed_alone[piece.block.metrics[0]] += 1
        self._suspects[piece] = _Suspect(suspect.failures + 1, self._writes.pieces)

    def should_refuse(self, piece: Piece) -> bool:
        """Whether `piece` has failed three times while other rows were written in between."""
        return self._suspects.get(piece, _Suspect()).failures >= _FAILURES_TO_REFUSE

    def forget(self, piece: Piece) -> None:
        """Take account that `piece` is no longer to be inserted; it may be unknown."""
        self._suspects.pop(piece, None)

    def record_write(self) -> None:
        """Take account of a write of this block."""
        if self._has_waited:
            self._has_waited = False
            self.failed_alone.clear()

    def must_wait(self, pieces: Collection[Piece]) -> bool:
        """Whether no INSERT of the `pieces` that are left can show more, before the store or another block does."""
        if not pieces:
            return False
        is_reserve_spent = self.is_store_down and not any(piece.is_reserved for piece in pieces)
        return is_reserve_spent or all(map(self._waits_for_a_write, pieces))

    def record_wait(self) -> None:
        """Take account that the block waits: the store may be the cause of the failures so far."""
        self._has_waited = True

    def choose_next(self, pieces: Collection[Piece]) -> Piece:
        """The piece of `pieces`, of which there is at least one, whose INSERT shows most."""
        return min(pieces, key=self._priority)

    def _priority(self, piece: Piece) -> _Priority:
        if self._waits_for_a_write(piece):
            return _Priority.WAITS_FOR_A_WRITE
        if piece.is_reserved:
            return _Priority.RESERVED_NOW if self.is_store_down else _Priority.RESERVED_LATER
        return _Priority.ORDINARY

    def _waits_for_a_write(self, piece: Piece) -> bool:
        return piece in self._suspects and self._suspects[piece].writes == self._writes.pieces
