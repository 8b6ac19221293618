"""A circuit breaker for the store: only the blocks in flight when an outage begins can become dead letters for it.

closed  a block has the whole retry budget
open    a block is a trial: one attempt, then a wait with backoff, until the store accepts or refuses its rows

The breaker opens for all months, because a failure may be of the whole store. It closes for one month at a time, when
rows of it are written, because the store may accept one partition of the table and not another (the months that share
INSERTs count as one); and only when three
blocks in a row were written at the first attempt, because the store may fail every second INSERT.

The worker holds from a failure on, until rows are written or an INSERT of no rows (the probe) succeeds, and as long as
a block waits. A probe that succeeds does not close the breaker, because INSERTs of rows may still fail.
"""

import asyncio
from collections.abc import Awaitable, Callable

from worker.core.hold import Cause, Hold
from worker.core.outcome import Outcome, OutcomeKind
from worker.core.process import cancel_tasks
from worker.core.retry import FOREVER, RetryPolicy, Sleep

_MAX_REASON_LENGTH = 500
_SUCCESSES_TO_CLOSE = 3


class CircuitBreaker:
    """Decides which blocks are trials, and holds the worker while the store fails.

    Args:
        probe: an INSERT of no rows.
        hold: entered while the store fails.
        backoff: the waits between trials, which are repeated without end.
        starts_open: whether the first block of each month is a trial, so that a worker that starts in an outage
            dead-letters nothing.

    Attributes:
        is_failing: whether nothing was accepted since the last failure.
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
        self._is_closed_for_all = not starts_open
        self._closed_months: set[int] = set()
        self._successes_in_a_row = 0
        self._failed_trials: dict[object, int] = {}  # in a row, of each waiter (the bisection of a block)
        self._probing: asyncio.Task[None] | None = None
        self.is_failing = False

    def is_open_for(self, month: int) -> bool:
        """Whether an INSERT of rows of `month` is a trial."""
        return not self._is_closed_for_all and month not in self._closed_months

    def open(self, outcome: Outcome) -> None:
        """Make every block a trial, and hold because of `outcome`."""
        self._is_closed_for_all = False
        self._closed_months.clear()
        self._successes_in_a_row = 0
        self.is_failing = True
        self._enter_hold(outcome)
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe_until_accepted(), name="store-probe")

    def record_success(self, month: int, *, at_first_attempt: bool) -> None:
        """Take account of rows of `month` that were written."""
        self._successes_in_a_row = self._successes_in_a_row + 1 if at_first_attempt else 0
        if not self._is_closed_for_all and self._successes_in_a_row >= _SUCCESSES_TO_CLOSE:
            self._closed_months.add(month)
        if self.is_failing:
            self.is_failing = False
            self._leave_hold_when_over()

    async def wait(self, waiter: object, outcome: Outcome) -> None:
        """Open because of `outcome`, and return when `waiter` may insert its rows again."""
        failures = self._failed_trials[waiter] = self._failed_trials.get(waiter, 0) + 1
        self.open(outcome)
        await self._back_off(failures)

    def end_wait(self, waiter: object) -> None:
        """Stop waiting: the store has accepted or refused rows of `waiter`, or these are given up or dropped."""
        if self._failed_trials.pop(waiter, None):
            self._leave_hold_when_over()

    async def close(self) -> None:
        """End the probe."""
        if self._probing is not None:
            await cancel_tasks(self._probing)

    async def _back_off(self, failures: int) -> None:
        await self._sleep(self._backoff.backoff_seconds(failures))

    def _enter_hold(self, outcome: Outcome) -> None:
        in_doubt = outcome.kind is OutcomeKind.UNCLASSIFIED
        self._hold.enter(Cause.STORE, str(outcome)[:_MAX_REASON_LENGTH], in_doubt=in_doubt)

    def _leave_hold_when_over(self) -> None:
        if not self.is_failing and not self._failed_trials:
            self._hold.leave(Cause.STORE)

    async def _probe_until_accepted(self) -> None:
        """End the hold when a probe succeeds. While a block waits there are no probes: its trials show more."""
        failures = 0
        while self.is_failing:
            failures += 1
            await self._back_off(failures)
            if self._failed_trials:
                continue
            outcome = await self._probe()
            if outcome.kind is OutcomeKind.WRITTEN:
                self.is_failing = False
                self._leave_hold_when_over()
            elif self.is_failing:  # else rows were written during the probe
                self._enter_hold(outcome)
