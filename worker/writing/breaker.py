"""A circuit breaker before the store: what is under way when an outage begins spends its own budget, nothing after it.

closed     inserts flow, each with its retry budget
open       the store is away: blocks wait in memory, a probe asks with backoff and jitter
half open  the probe was answered, but not with a row of the month that failed: inserts are let through to see. The
           first accepted one closes it; a failure opens it again, and that is no reason to dead-letter anything.
           Where nobody is left to try, or those who wait cannot tell, intake brings others

A probe that gets a row of that month in closes it at once. A month that has failed goes on being tried, not trusted,
until a block of it has passed: the store may be there for one partition of the table and away for another.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

import structlog

from worker.errors import StoreError
from worker.hold import Cause, Hold
from worker.retry import UNTIL_DONE, RetryPolicy, Sleep
from worker.writing.witness import Life, Witnesses

log = structlog.get_logger(__name__)


class _State(Enum):
    CLOSED = auto()
    OPEN = auto()
    HALF_OPEN = auto()


class Breaker:
    """Keeps `hold` told of the store, and blocks from a store that is away.

    Args:
        witnesses: ask the store while it is open.
        hold: entered when it opens, left when it closes, or when only a new block can tell whether it may.
        probing: the pace of the probe; it is never given up, whatever its budget.
        sleep: waits between probes; tests put their own clock here.
    """

    def __init__(
        self, witnesses: Witnesses, hold: Hold, probing: RetryPolicy = UNTIL_DONE, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._witnesses = witnesses
        self._hold = hold
        self._probing = probing
        self._sleep = sleep
        self._state = _State.CLOSED
        self._failures = 0
        self._failing_months: set[int] = set()
        self._inside = 0
        self._wants_others = False
        self._let_through = asyncio.Event()
        self._let_through.set()
        self._probe: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether inserts flow."""
        return self._state is _State.CLOSED

    @asynccontextmanager
    async def admission(self, month: int) -> AsyncIterator[bool]:
        """Wait while it is open, then insert inside; gives whether that is a trial of a store that was away."""
        self._inside += 1
        try:
            await self._let_through.wait()
            yield self._state is _State.HALF_OPEN or month in self._failing_months
        finally:
            self._inside -= 1
            self._look_for_a_trial()

    def open(self, error: StoreError, month: int, *, wants_others: bool = False) -> None:
        """Hold because rows of `month` met `error`, and begin to probe.

        With `wants_others` it takes other rows than those that wait to tell whether the store is there: intake brings
        as many as there is room for.
        """
        self._wants_others = wants_others
        self._say(error)
        self._failing_months.add(month)
        if self._state is not _State.OPEN:
            self._failures += 1
            self._state = _State.OPEN
            self._let_through.clear()
            self._probe = asyncio.create_task(self._probe_until_answered(month, self._failures), name="store-probe")

    def close(self, month: int) -> None:
        """An insert of rows of `month` was answered: the store is back."""
        self._failing_months.discard(month)
        if self._state is _State.HALF_OPEN:
            self._close()

    async def stop(self) -> None:
        """End the probe."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)

    def _say(self, error: StoreError) -> None:
        self._hold.enter(Cause.STORE, f"{error.name}: {error}"[:500], taking=self._wants_others)

    def _close(self) -> None:
        self._state = _State.CLOSED
        self._failures = 0
        self._hold.leave(Cause.STORE)

    def _look_for_a_trial(self) -> None:
        """Half open, and nobody here who can try the store: let intake bring a block."""
        if self._state is _State.HALF_OPEN and not self._inside:
            self._hold.leave(Cause.STORE)

    async def _ask(self, month: int) -> bool:
        """Whether the answer was given for this very month, with a row."""
        try:
            own = self._witnesses.speaks_for(month)
            return await self._witnesses.probe(month) is Life.TAKES and own
        except StoreError as error:
            self._say(error)  # it may be another than the one that it opened for
            raise
        except Exception:
            # A mistake of ours. The probe must go on all the same: without it the worker would hold for ever.
            log.exception("the probe failed unexpectedly")
            raise

    async def _probe_until_answered(self, month: int, failures: int) -> None:
        # A store that answers probes and refuses inserts must not be asked without end in quick succession.
        wait = min(self._probing.first_wait_seconds * 2 ** min(failures - 1, 30), self._probing.max_wait_seconds)
        await self._sleep(wait)
        async for attempt in self._probing.without_end(Exception, self._sleep):
            with attempt:
                taken = await self._ask(month)
        if taken:
            self._failing_months.discard(month)
            self._close()
        else:
            self._state = _State.HALF_OPEN
            self._look_for_a_trial()
        self._let_through.set()
