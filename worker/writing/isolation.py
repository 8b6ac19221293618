"""Isolation: of a block that is refused, every good row goes in and the guilty rows are named.

The whole is inserted. Where it is refused for a constraint, the store tells which rows violate it, and the others are
inserted; else ever smaller pieces are, until the guilty rows stand alone. A row that fails alone with a code that
nobody knows is a suspect: it may be the row, it may be the store. It is guilty when it fails again after the store has
shown, with other rows, that it takes inserts.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol, Self

from worker.block import Block
from worker.errors import ErrorClass, RowRefused, StoreError, StoreUnavailable, UnknownStoreError
from worker.model import FailedMetric, Failure
from worker.writing.split import split

_SUSPECTS = 8
"""Suspects before the store must show life. They are sought in different places, so that one metric that is always
refused does not stand for all."""


@dataclass
class Piece:
    """Rows that go in one insert.

    Attributes:
        block: the rows.
        attempts: how many inserts have held them.
        too_much: cut from rows that were too much for the store.
        hopeless: of rows like which none was taken lately. If they are refused together, they go one by one: that is
            one insert a row, where halves are two when all are guilty.
        suspected_at: how often the store had shown life when the row, a single one, first failed with an unknown code.
        suspected_for: that error.
    """

    block: Block
    attempts: int = 0
    too_much: bool = False
    hopeless: bool = False
    suspected_at: float = inf
    suspected_for: StoreError | None = None


class _Deduced(StoreUnavailable):
    @classmethod
    def because(cls, error: StoreError) -> Self:
        """Name the error of the store that led to this."""
        return cls(str(error), name=error.name, code=error.code)


class NothingPasses(_Deduced):
    """An error that says nothing of the rows, and no rows that pass: it is the store."""


class TooMuch(_Deduced):
    """The store is there, but does not manage these rows."""


class Inserts(Protocol):
    """What isolation asks of the writer."""

    async def insert(self, piece: Piece) -> None:
        """Insert `piece`, through outages.

        Raises:
            RowRefused, UnknownStoreError: the store has answered.
            TooMuch: it does not answer, and answers for other rows.
            StoreUnavailable: it does not answer, and these rows shall wait no longer.
        """

    async def violating(self, refusal: RowRefused, block: Block) -> Sequence[int]:
        """Positions of the rows of `block` that violate the constraint that `refusal` of it names.

        Empty where that cannot be told without inserting them.
        """

    async def show_life(self, month: int) -> bool:
        """Insert what the store has taken before, through outages; False when there is nothing.

        Raises:
            StoreUnavailable: it does not take it, and the rows shall wait no longer.
        """


async def isolate(whole: Block, inserts: Inserts, *, hopeless: bool = False) -> list[FailedMetric]:
    """Insert every row of `whole` that the store takes; the rest is returned.

    Args:
        whole: the rows.
        inserts: the writer.
        hopeless: whether none of them is expected to be taken; it only says where to cut.

    Raises:
        NothingPasses: it cannot be told whether store or rows are at fault, because the store has never taken anything.
    """
    return await _Isolation(Piece(whole, hopeless=hopeless), inserts).run()


class _Isolation:
    def __init__(self, whole: Piece, inserts: Inserts) -> None:
        self._inserts = inserts
        self._pieces = deque([whole])
        self._suspects: list[Piece] = []
        self._failed: list[FailedMetric] = []
        self._signs_of_life = 0

    async def run(self) -> list[FailedMetric]:
        while self._pieces or self._suspects:
            try:
                if self._pieces and len(self._suspects) < _SUSPECTS:
                    await self._take(self._pieces[-1])
                else:
                    await self._look_at_the_store(self._suspects[-1])
            except NothingPasses:
                raise
            except StoreUnavailable as error:
                self._fail((*reversed(self._pieces), *self._suspects), ErrorClass.STORE_UNAVAILABLE, error)
                break
            if any(suspect.suspected_at < self._signs_of_life for suspect in self._suspects):
                self._pieces += self._suspects
                self._suspects = []
        return self._failed

    async def _take(self, piece: Piece) -> None:
        """Bring the last piece to an end, or into smaller pieces, or among the suspects."""
        try:
            await self._inserts.insert(piece)
        except TooMuch as error:
            self._divide_or_fail(piece, ErrorClass.STORE_UNAVAILABLE, error)
        except RowRefused as error:
            if not await self._fail_violating(piece, error):
                self._divide_or_fail(piece, ErrorClass.ROW_REFUSED, error)
        except UnknownStoreError as error:
            if len(piece.block) > 1 or piece.suspected_at < self._signs_of_life:
                self._divide_or_fail(piece, ErrorClass.ROW_REFUSED, error)
            else:
                self._suspect(piece, error)
        else:
            self._pieces.pop()
            self._signs_of_life += 1
            if piece.hopeless:
                self._take_heart()

    async def _fail_violating(self, piece: Piece, refusal: RowRefused) -> bool:
        """Fail all rows of the last piece that violate the same constraint; False where nobody can tell which do."""
        constraint = refusal.constraint
        if constraint is None or len(piece.block) == 1:
            return False
        positions = await self._inserts.violating(refusal, piece.block)
        if not positions:
            return False
        self._pieces.pop()
        guilty, others = piece.block.divided(positions)
        error = RowRefused(constraint.violated, name=refusal.name, code=refusal.code)
        self._fail((replace(piece, block=guilty),), ErrorClass.ROW_REFUSED, error)
        if len(others):
            self._pieces.append(replace(piece, block=others))
        return True

    def _divide_or_fail(self, piece: Piece, error_class: ErrorClass, error: StoreError) -> None:
        self._pieces.pop()
        if len(piece.block) > 1:
            too_much = piece.too_much or isinstance(error, TooMuch)
            rows = list(piece.block.rows())
            cut = [[row] for row in rows] if piece.hopeless and not too_much else split(rows, error.row)
            parts = (Block.of(piece.block.month, some) for some in cut)
            self._pieces += reversed([Piece(part, piece.attempts, too_much, piece.hopeless) for part in parts])
        else:
            self._fail((piece,), error_class, error)

    def _take_heart(self) -> None:
        """A row was taken that was not expected to be: put those together again that wait one by one."""
        left: list[Piece] = []
        others: deque[Piece] = deque()
        for piece in self._pieces:
            # What was too much stays cut: together it would be too much again, and cost the whole budget of retries.
            (left if piece.hopeless and not piece.too_much else others).append(piece)
            piece.hopeless = False
        if left:
            rows = (row for piece in reversed(left) for row in piece.block.rows())
            others.append(Piece(Block.of(left[0].block.month, rows), max(piece.attempts for piece in left)))
        self._pieces = others

    def _suspect(self, piece: Piece, error: UnknownStoreError) -> None:
        self._pieces.pop()
        self._pieces.rotate(-1)  # go on at the far end: another metric, where there is one
        self._suspects.append(piece)
        piece.suspected_at = min(piece.suspected_at, self._signs_of_life)
        piece.suspected_for = error.with_traceback(None)  # it leads here, and the rows would wait for the collector

    async def _look_at_the_store(self, suspect: Piece) -> None:
        # A refusal with a code that says why is no sign of life: it may come before the store is asked.
        if not await self._inserts.show_life(suspect.block.month) and suspect.suspected_for is not None:
            raise NothingPasses.because(suspect.suspected_for) from suspect.suspected_for
        self._signs_of_life += 1

    def _fail(self, pieces: Iterable[Piece], error_class: ErrorClass, error: StoreError) -> None:
        failure = Failure(error_class, error.name, str(error), error.code)
        self._failed += (
            FailedMetric(row.event, row.metric, row.value, failure, piece.attempts)
            for piece in pieces
            for row in piece.block.rows()
        )
