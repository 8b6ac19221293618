"""A circuit breaker before the store: rows that are read after an outage has begun are not dead-lettered for it.

closed  a block has its whole retry budget
open    a block is a trial: one attempt, then a wait with backoff, until the store answers about its rows

A failure that ends a budget opens it for all months, because the store may be away as a whole. Rows that are written
close it for their own month only, because the store may accept one partition of the table and not another; and only
when three blocks in a row were written at the first attempt, because the store may fail every second INSERT. The worker
holds from the failure on, until rows are written or an INSERT of no rows succeeds, and as long as a block waits. That
INSERT proves nothing for rows, so it closes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from worker.core.hold import Cause, Hold
from worker.core.outcome import Outcome, OutcomeKind
from worker.core.retry import FOREVER, RetryPolicy, Sleep

_MAX_REASON = 500
_SUCCESSES_TO_CLOSE = 3


class CircuitBreaker:
    """Keeps what is known of the store, and holds while it fails.

    Args:
        probe: an INSERT of no rows.
        hold: entered while the store fails.
        backoff: the pace of trials, which are repeated without end.
        sleep: waits between trials; tests put their own clock here.
        starts_open: whether the first block of each month is a trial, so that a worker which is started during an
            outage dead-letters nothing.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[Outcome]],
        hold: Hold,
        backoff: RetryPolicy = FOREVER,
        sleep: Sleep = asyncio.sleep,
        *,
        starts_open: bool = False,
    ) -> None:
        self._probe = probe
        self._hold = hold
        self._backoff = backoff
        self._sleep = sleep
        self._closed_months: set[int] | None = set() if starts_open else None  # None: all
        self._is_failing = False
        self._successes = 0
        self._waiting_blocks = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_failing(self) -> bool:
        """Whether nothing has been accepted since the last failure."""
        return self._is_failing

    def is_open_for(self, month: int) -> bool:
        """Whether an INSERT of rows of `month` is a trial."""
        return self._closed_months is not None and month not in self._closed_months

    @contextmanager
    def admit(self, month: int) -> Iterator["Admission"]:
        """Inside, rows of one block, all of `month`, are inserted."""
        admission = Admission(self, month)
        try:
            yield admission
        finally:
            admission.end_wait()

    def open(self, outcome: Outcome) -> None:
        """Hold because of `outcome`, and make every block a trial."""
        self._closed_months = set()
        self._successes = 0
        self._is_failing = True
        self._enter_hold(outcome)
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe_until_accepted(), name="store-probe")

    def count_success(self, month: int, *, at_first_attempt: bool) -> None:
        """Rows of `month` were written."""
        self._successes = self._successes + 1 if at_first_attempt else 0
        if self._closed_months is not None and self._successes >= _SUCCESSES_TO_CLOSE:
            self._closed_months.add(month)
        self._is_failing = False
        self._leave_hold_when_over()

    def count_waiting(self, change: int) -> None:
        """A block begins (1) or ends (-1) to wait."""
        self._waiting_blocks += change
        self._leave_hold_when_over()

    async def back_off(self, failures: int) -> None:
        """Wait before the trial that follows `failures` failed ones in a row."""
        await self._sleep(self._backoff.backoff_seconds(failures))

    async def stop(self) -> None:
        """End the probe."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    def _enter_hold(self, outcome: Outcome) -> None:
        in_doubt = outcome.kind is OutcomeKind.UNCLASSIFIED
        self._hold.enter(Cause.STORE, str(outcome)[:_MAX_REASON], in_doubt=in_doubt)

    def _leave_hold_when_over(self) -> None:
        if not self._is_failing and not self._waiting_blocks:
            self._hold.leave(Cause.STORE)

    async def _probe_until_accepted(self) -> None:
        """End the hold when an INSERT of no rows succeeds. A waiting block is a better trial, and replaces it."""
        failures = 0
        while self._is_failing:
            failures += 1
            await self.back_off(failures)
            if self._waiting_blocks:
                continue
            outcome = await self._probe()
            if outcome.kind is OutcomeKind.WRITTEN:
                self._is_failing = False
                self._leave_hold_when_over()
            elif self._is_failing:  # else rows were written meanwhile
                self._enter_hold(outcome)


class Admission:
    """One block before the breaker, from its first INSERT to its end."""

    def __init__(self, breaker: CircuitBreaker, month: int) -> None:
        self._breaker = breaker
        self._month = month
        self._failures = 0
        self._is_waiting = False

    @property
    def is_trial(self) -> bool:
        """Whether the next INSERT has one attempt only, and its rows wait when it fails."""
        return self._breaker.is_open_for(self._month)

    async def wait(self, outcome: Outcome) -> None:
        """`outcome` says nothing of the rows: hold, and return when they may be tried again."""
        self._failures += 1
        if not self._is_waiting:
            self._is_waiting = True
            self._breaker.count_waiting(1)
        self._breaker.open(outcome)
        await self._breaker.back_off(self._failures)

    def give_up(self, outcome: Outcome) -> None:
        """`outcome` has ended the budget of the rows, which become dead letters: hold for what comes after them."""
        self._breaker.open(outcome)

    def end_wait(self) -> None:
        """The store has answered about rows of the block, or the block is given up or dropped."""
        self._failures = 0
        if self._is_waiting:
            self._is_waiting = False
            self._breaker.count_waiting(-1)

    def succeed(self, *, at_first_attempt: bool) -> None:
        """Rows of the block were written."""
        self.end_wait()
        self._breaker.count_success(self._month, at_first_attempt=at_first_attempt)
