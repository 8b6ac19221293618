"""Writing a block: one insert when all is well, one metric alone when it is not.

1. Insert the block; what is unavailable is tried again with the same rows, which is the same token.
2. Refused for a constraint: the rows that violate it are the failed metrics; see `worker.writing.constraints`.
   Refused for something else: split it, and treat each piece the same, until single rows are refused.
3. Unavailable beyond the budget: ask with a witness, a row that the store took before, whether it is the store.
   It is: hold. The rows become failed metrics, or stay in memory, as the policy says.
   It is not: the rows are too much for it. Split them, as if refused; a single row has some budgets more.
4. Misconfigured: hold at once and keep the rows; no metric is at fault.
5. An error without a class: refused if other rows pass, a witness among them, else unavailable.

Rows that are expected to be refused are written after the others, in blocks of their own: see also
`worker.writing.apart`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TypeVar

from worker.block import Block
from worker.errors import ErrorClass, RowRefused, StoreMisconfigured, StoreUnavailable, UnknownStoreError
from worker.model import FailedMetric, Failure
from worker.ports import Store
from worker.retry import RetryPolicy, Sleep
from worker.telemetry import Telemetry
from worker.writing.apart import Apart
from worker.writing.breaker import Breaker
from worker.writing.constraints import Constraints
from worker.writing.isolation import Inserts, NothingPasses, Piece, TooMuch, isolate
from worker.writing.repeats import Repeats
from worker.writing.witness import Life, Witnesses

Result = TypeVar("Result")

_ONCE = RetryPolicy(attempts=1)
_MORE_ROUNDS = 2
"""Budgets more that a single row has while the store takes others, before the row is at fault and not the weather."""


class OnUnavailable(StrEnum):
    """What becomes of the rows in flight when the store stays away longer than the retry budget."""

    DEAD_LETTER = "dead_letter"
    HOLD = "hold"


class _NoWitnessError(Exception):
    """The store answers, and has taken nothing that it could be asked with."""


class Writer(Inserts):
    """Writes blocks to a store, each metric on its own account.

    Args:
        store: where the rows go.
        witnesses: tell whether it is the store that fails; they learn from what is written.
        breaker: stands between writer and store while the store is away.
        retry: the budget of each block and each piece of it.
        on_unavailable: what to do when it is spent.
        sleep: waits between attempts; tests put their own clock here.
        telemetry: counts splits, and inserts that are repeated.
    """

    def __init__(
        self,
        store: Store,
        witnesses: Witnesses,
        breaker: Breaker,
        retry: RetryPolicy,
        on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
        sleep: Sleep = asyncio.sleep,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._store = store
        self._witnesses = witnesses
        self._breaker = breaker
        self._retry = retry
        self._on_unavailable = on_unavailable
        self._sleep = sleep
        self._telemetry = telemetry or Telemetry()
        self._apart = Apart()
        self._constraints = Constraints(store, self._telemetry)

    async def write(self, block: Block) -> list[FailedMetric]:
        """Write every row of `block`; when this returns each is acknowledged by the store or among the failed.

        It waits as long as the store is misconfigured, and with `hold` as long as it is away.
        """
        # A store that is away is not asked: the first insert decides what becomes of the block.
        violating, others = await self._constraints.divide(block) if self._breaker.closed else block.divided(())
        failed: list[FailedMetric] = []
        for part, apart in self._apart.parts(others):
            failed += await self._write(part, hopeless=apart)
        if len(violating):
            refused = await self._write(violating, hopeless=True)
            if len(refused) < len(violating):
                self._constraints.forget()
            failed += refused
        self._apart.learn(block, failed)
        return failed

    async def _write(self, block: Block, *, hopeless: bool) -> list[FailedMetric]:
        attempts = 0

        async def isolating() -> list[FailedMetric]:
            nonlocal attempts
            attempts += 1
            return await isolate(block, self, hopeless=hopeless)

        try:
            return await self._weather(block.month, self._retry, isolating)
        except StoreUnavailable as error:
            failure = Failure(ErrorClass.STORE_UNAVAILABLE, error.name, str(error), error.code)
            return [FailedMetric(row.event, row.metric, row.value, failure, attempts) for row in block.rows()]

    async def insert(self, piece: Piece) -> None:
        """See `Inserts`."""
        with Repeats(self._telemetry, divisible=len(piece.block) > 1) as repeats:
            await self._insert(piece, repeats)

    async def _insert(self, piece: Piece, repeats: Repeats) -> None:
        async def insert() -> None:
            piece.attempts += 1
            with repeats.attempt():
                await self._store.insert(piece.block)
            self._breaker.close(piece.block.month)

        alone = len(piece.block) == 1
        retry = self._retry if alone or not piece.too_much else _ONCE
        more_rounds = _MORE_ROUNDS if alone else 0
        while True:
            try:
                await self._weather(piece.block.month, retry, insert, divisible=not alone)
            except TooMuch:
                if not more_rounds:
                    raise
                more_rounds -= 1
            else:
                self._witnesses.took(piece.block)
                return

    async def violating(self, refusal: RowRefused, block: Block) -> Sequence[int]:
        """See `Inserts`."""
        return await self._constraints.violating(refusal, block)

    async def show_life(self, month: int) -> bool:
        """See `Inserts`."""

        async def probe() -> None:
            try:
                life = await self._witnesses.probe(month)
            except UnknownStoreError as error:
                raise StoreUnavailable(str(error), name=error.name, code=error.code) from error
            if life is not Life.TAKES:
                raise _NoWitnessError
            self._breaker.close(month)

        try:
            await self._weather(month, self._retry, probe)
        except _NoWitnessError:
            return False
        return True

    async def _weather(
        self, month: int, retry: RetryPolicy, action: Callable[[], Awaitable[Result]], *, divisible: bool = False
    ) -> Result:
        """Do `action` until the store has answered it: again within the budget, then held back by the breaker.

        Raises:
            RowRefused, UnknownStoreError: as `action` does; the store has answered.
            TooMuch: the budget is spent, and the store takes other rows, or answers and smaller pieces can tell more.
            StoreUnavailable: the budget is spent and the policy is to dead-letter.
        """
        while True:
            async with self._breaker.admission(month) as trial:
                policy = _ONCE if trial else retry
                try:
                    result: Result = await policy.retrying(StoreUnavailable, self._sleep)(action)
                except StoreMisconfigured as error:
                    self._breaker.open(error, month)
                except StoreUnavailable as error:
                    undecided = isinstance(error, NothingPasses)
                    life = await self._witnesses.testify(month)
                    if life is Life.TAKES:
                        self._breaker.close(month)
                        if not trial and not undecided:
                            raise TooMuch.because(error) from error
                        continue  # with the whole budget, and knowing that it is not the store
                    if life is Life.ANSWERS and divisible:
                        raise TooMuch.because(error) from error
                    # A store that answers and has never taken a row may be waiting for other rows than these.
                    self._breaker.open(error, month, wants_others=life is Life.ANSWERS)
                    if not trial and self._on_unavailable is OnUnavailable.DEAD_LETTER:
                        raise
                else:
                    return result
