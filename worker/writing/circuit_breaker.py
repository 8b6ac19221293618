"""A circuit breaker before the store: only what is in flight when an outage begins may become dead letters of it.

closed  each INSERT has its whole retry budget
open    rows have failed for their whole budget, or the store is misconfigured. The worker holds. Each waiting block is
        a trial: one attempt, then a wait with backoff. While no block waits, an INSERT of no rows is the trial

What is written closes it. A month that has failed stays suspended until rows of it are written, because the store may
accept one partition of the table and not another: its blocks are trials until then. So is the first block after a
start: a worker that is started during an outage makes no dead letters.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from worker.hold import Cause, Hold
from worker.outcome import Outcome, OutcomeKind
from worker.retry import UNTIL_DONE, RetryPolicy, Sleep

_MAX_REASON = 500


class CircuitBreaker:
    """Keeps the state of the store, and holds while it fails.

    Args:
        probe: an INSERT of no rows; its outcome says whether the store accepts inserts.
        hold: entered while the breaker is open or a block waits.
        backoff: the pace of trials, which are repeated without end.
        sleep: waits between trials; tests put their own clock here.
        starts_open: whether the first INSERTs are trials.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[Outcome]],
        hold: Hold,
        backoff: RetryPolicy = UNTIL_DONE,
        sleep: Sleep = asyncio.sleep,
        *,
        starts_open: bool = False,
    ) -> None:
        self._probe = probe
        self._hold = hold
        self._backoff = backoff
        self._sleep = sleep
        self._is_open = starts_open
        self._suspended_months: set[int] = set()
        self._waiting = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the store has accepted, or judged, what was last inserted."""
        return not self._is_open

    @contextmanager
    def admit(self, month: int) -> Iterator["Admission"]:
        """Inside, rows of one block, all of `month`, are inserted."""
        admission = Admission(self, month)
        try:
            yield admission
        finally:
            self.end_wait(admission)

    async def stop(self) -> None:
        """End the probe."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    # For Admission

    def is_open_for(self, month: int) -> bool:
        """Whether an INSERT of rows of `month` is a trial."""
        return self._is_open or month in self._suspended_months

    def open(self, month: int, outcome: Outcome) -> None:
        """Hold because of `outcome`, and suspend `month`."""
        self._is_open = True
        self._suspended_months.add(month)
        self._hold.enter(Cause.STORE, str(outcome)[:_MAX_REASON])
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe_until_closed(), name="store-probe")

    def close(self, month: int) -> None:
        """Rows of `month` were written or judged: nothing is suspended for it any more."""
        self._suspended_months.discard(month)
        self._is_open = False
        self._leave_hold_when_over()

    def begin_wait(self, admission: "Admission") -> None:
        """The block waits for the store from now on."""
        self._waiting += not admission.is_waiting
        admission.is_waiting = True

    def end_wait(self, admission: "Admission") -> None:
        """The block does not wait any more: it is written, judged, abandoned or dropped."""
        if admission.is_waiting:
            admission.is_waiting = False
            self._waiting -= 1
            self._leave_hold_when_over()

    async def back_off(self, failures: int) -> None:
        """Wait before the trial that follows `failures` failed ones in a row."""
        await self._sleep(self._backoff.backoff_seconds(failures))

    def _leave_hold_when_over(self) -> None:
        if not self._is_open and not self._waiting:
            self._hold.leave(Cause.STORE)

    async def _probe_until_closed(self) -> None:
        failures = 0
        while self._is_open:
            failures += 1
            await self.back_off(failures)
            if self._waiting or not self._is_open:
                continue
            outcome = await self._probe()
            if outcome.kind is OutcomeKind.WRITTEN:
                self._is_open = False
                self._leave_hold_when_over()
            else:
                self._hold.enter(Cause.STORE, str(outcome)[:_MAX_REASON])


class Admission:
    """One block before the breaker, from its first INSERT to its end."""

    def __init__(self, breaker: CircuitBreaker, month: int) -> None:
        self._breaker = breaker
        self._month = month
        self._failures = 0
        self.is_waiting = False

    @property
    def is_trial(self) -> bool:
        """Whether the next INSERT has one attempt only, and its rows wait when it fails."""
        return self._breaker.is_open_for(self._month)

    async def wait(self, outcome: Outcome) -> None:
        """`outcome` says nothing of the rows: hold, and return when they may be tried again."""
        self._failures += 1
        self._breaker.begin_wait(self)
        self._breaker.open(self._month, outcome)
        await self._breaker.back_off(self._failures)

    def give_up(self, outcome: Outcome) -> None:
        """`outcome` has ended the budget of the rows, which become dead letters: hold for what comes after them."""
        self._breaker.open(self._month, outcome)

    def succeed(self) -> None:
        """The store has written rows of the block, or judged them."""
        self._failures = 0
        self._breaker.end_wait(self)
        self._breaker.close(self._month)
