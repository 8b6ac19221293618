"""Writing a block: one insert when all is well, one metric alone when it is not.

1. Insert the block; what is unavailable is tried again with the same rows, which is the same token.
2. Refused: split it, and treat each piece the same, until single rows are refused. They are the failed metrics.
3. Unavailable beyond the budget: hold. The rows become failed metrics, or stay in memory, as the policy says.
4. Misconfigured: hold at once and keep the rows; no metric is at fault.
5. An error without a class: refused if other rows pass, else unavailable.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TypeVar

from worker.block import Block
from worker.breaker import Breaker
from worker.errors import ErrorClass, RowRefused, StoreError, StoreMisconfigured, StoreUnavailable, UnknownStoreError
from worker.model import FailedMetric, Failure
from worker.ports import Store
from worker.retry import RetryPolicy, Sleep
from worker.split import split

Result = TypeVar("Result")

_ONCE = RetryPolicy(attempts=1)
_SUSPECTS = 8
"""Single rows refused with an unknown code, and nothing accepted, before it is called an outage. They are sought in
different places, so that one metric that is always refused does not stand for all."""


class OnUnavailable(StrEnum):
    """What becomes of the rows in flight when the store stays away longer than the retry budget."""

    DEAD_LETTER = "dead_letter"
    HOLD = "hold"


@dataclass
class _Piece:
    """Rows that go in one insert; `attempts` counts the inserts that held them.

    `suspected_at` is how often the store had shown life when the row first failed with an unknown code.
    """

    block: Block
    attempts: int = 0
    suspected_at: float = inf


class Writer:
    """Writes blocks to a store, each metric on its own account.

    Args:
        store: where the rows go.
        breaker: stands between writer and store while the store is away.
        retry: the budget of each block and each piece of it.
        on_unavailable: what to do when it is spent.
        sleep: waits between attempts; tests put their own clock here.
    """

    def __init__(
        self,
        store: Store,
        breaker: Breaker,
        retry: RetryPolicy,
        on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._retry = retry
        self._on_unavailable = on_unavailable
        self._sleep = sleep

    async def write(self, block: Block) -> list[FailedMetric]:
        """Write every row of `block`; when this returns each is acknowledged by the store or among the failed.

        It waits as long as the store is misconfigured, and with `hold` as long as it is away.
        """
        whole = _Piece(block)

        async def isolate() -> list[FailedMetric]:
            return await self._isolate(whole)

        try:
            return await self._weather(isolate)
        except _NothingPasses as error:
            return _failures((whole,), ErrorClass.STORE_UNAVAILABLE, error)

    async def _isolate(self, whole: _Piece) -> list[FailedMetric]:
        """Insert the whole, and where it is refused ever smaller pieces, until the guilty rows stand alone.

        A row that fails alone with a code that nobody knows is a suspect: it may be the row, it may be the store. It is
        guilty when it fails again after the store has shown, with other rows of the block, that it takes inserts.
        """
        failed: list[FailedMetric] = []
        suspects: list[_Piece] = []
        accepted: _Piece | None = None
        signs_of_life = 0
        pieces = deque([whole])
        while pieces:
            piece = pieces.pop()
            try:
                await self._insert(piece)
                accepted, signs_of_life = piece, signs_of_life + 1
            except (RowRefused, UnknownStoreError) as error:
                if len(piece.block) > 1:
                    pieces += reversed(_split(piece, error.row))
                elif isinstance(error, RowRefused) or piece.suspected_at < signs_of_life:
                    failed += _failures((piece,), ErrorClass.ROW_REFUSED, error)
                    signs_of_life += 1
                else:
                    piece.suspected_at = min(piece.suspected_at, signs_of_life)
                    suspects.append(piece)
                    pieces.rotate(-1)  # go on at the far end: another metric, where there is one
                    if (not pieces or len(suspects) >= _SUSPECTS) and not signs_of_life:
                        raise _NothingPasses.because(error) from error
            except StoreUnavailable as error:
                return failed + _failures((piece, *pieces, *suspects), ErrorClass.STORE_UNAVAILABLE, error)
            if suspects and (not pieces or len(suspects) >= _SUSPECTS):
                try:
                    await self._show_life(accepted)
                except StoreUnavailable as error:
                    return failed + _failures((*pieces, *suspects), ErrorClass.STORE_UNAVAILABLE, error)
                signs_of_life += 1
            if any(suspect.suspected_at < signs_of_life for suspect in suspects):
                pieces += suspects
                suspects = []
        return failed

    async def _show_life(self, accepted: _Piece | None) -> None:
        """Insert again what was accepted before: it changes nothing, and if it fails it is the store that fails.

        Raises:
            StoreUnavailable: it does, beyond the budget, and the policy is to dead-letter.
        """
        if accepted is None:
            return  # nothing of the block passes, but the store has refused some of it with a code that says why
        block = accepted.block

        async def insert() -> None:
            try:
                await self._store.insert(block)
            except UnknownStoreError as error:
                raise _NothingPasses.because(error) from error

        await self._weather(insert)

    async def _insert(self, piece: _Piece) -> None:
        async def insert() -> None:
            piece.attempts += 1
            await self._store.insert(piece.block)

        await self._weather(insert)

    async def _weather(self, action: Callable[[], Awaitable[Result]]) -> Result:
        """Do `action` until the store has answered it: again within the budget, then held back by the breaker.

        Raises:
            RowRefused, UnknownStoreError: as `action` does; the store has answered.
            StoreUnavailable: the budget is spent and the policy is to dead-letter.
        """
        trials = 0
        while True:
            await self._breaker.admitted()
            trial = self._breaker.half_open
            trials += trial
            retry = _ONCE if trial else self._retry
            try:
                result: Result = await retry.retrying(StoreUnavailable, self._sleep)(action)
            except StoreMisconfigured as error:
                self._breaker.open(error)
            except StoreUnavailable as error:
                self._breaker.open(error)
                # Rows that fail each trial with a code that nobody knows may be the cause: they must not hold for ever.
                spent = not trial or (isinstance(error, _NothingPasses) and trials >= self._retry.attempts)
                if spent and self._on_unavailable is OnUnavailable.DEAD_LETTER:
                    raise
            except RowRefused:
                self._breaker.close()
                raise
            else:
                self._breaker.close()
                return result


class _NothingPasses(StoreUnavailable):
    """Nothing of a block is accepted, and the code says nothing of the rows: it is the store."""

    @classmethod
    def because(cls, error: StoreError) -> "_NothingPasses":
        return cls(str(error), name=error.name, code=error.code)


def _split(piece: _Piece, named: int | None) -> list[_Piece]:
    parts = split(list(piece.block.rows()), named)
    return [_Piece(Block.of(piece.block.month, rows), piece.attempts) for rows in parts]


def _failures(pieces: Iterable[_Piece], error_class: ErrorClass, error: StoreError) -> list[FailedMetric]:
    failure = Failure(error_class, error.name, str(error), error.code)
    return [
        FailedMetric(row.event, row.metric, row.value, failure, piece.attempts)
        for piece in pieces
        for row in piece.block.rows()
    ]
