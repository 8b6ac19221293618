"""Retries with a budget and with exponential backoff, on top of tenacity."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import uniform
from traceback import clear_frames
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_result,
    stop_after_attempt,
    stop_before_delay,
)

Sleep = Callable[[float], Awaitable[None]]
Result = TypeVar("Result")
_MAX_DOUBLINGS = 30
"""The wait is beyond any limit by then, and an ever larger power would not fit a float."""


@dataclass(frozen=True)
class RetryPolicy:
    """A budget of attempts and of time, with exponential backoff and full jitter between the attempts.

    Full jitter (any wait from 0 to the backoff) keeps the workers of a group from returning all at once; see
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Attributes:
        attempts: most attempts, including the first.
        max_seconds: no attempt starts later than this after the first.
        first_wait_seconds: upper bound of the first wait; it doubles with each wait.
        max_wait_seconds: upper bound of any wait.
    """

    attempts: int = 8
    max_seconds: float = 60.0
    first_wait_seconds: float = 0.2
    max_wait_seconds: float = 10.0

    async def call(
        self,
        function: Callable[[], Awaitable[Result]],
        should_retry: Callable[[Result], bool],
        sleep: Sleep = asyncio.sleep,
    ) -> Result:
        """Call `function` until its result needs no retry or the budget is spent; returns the last result."""
        retrying = _Retrying(
            retry=retry_if_result(should_retry),
            stop=stop_after_attempt(self.attempts) | stop_before_delay(self.max_seconds),
            wait=lambda state: self.backoff_seconds(state.attempt_number),
            sleep=sleep,
            retry_error_callback=_last_result,
        )
        result: Result = await retrying(function)
        return result

    async def call_again(
        self,
        first: Result,
        seconds: float,
        function: Callable[[], Awaitable[Result]],
        should_retry: Callable[[Result], bool],
        sleep: Sleep = asyncio.sleep,
    ) -> Result:
        """Do as `call`, after a first attempt that has taken `seconds` and returned `first`: both count."""
        known = [first]

        async def attempt() -> Result:
            return known.pop() if known else await function()

        return await replace(self, max_seconds=self.max_seconds - seconds).call(attempt, should_retry, sleep)

    def backoff_seconds(self, failures: int) -> float:
        """How long to wait after `failures` failed attempts, of which there is at least one."""
        longest = self.first_wait_seconds * 2 ** min(failures - 1, _MAX_DOUBLINGS)
        return uniform(0, min(longest, self.max_wait_seconds))  # noqa: S311 # nosec B311


def _last_result(state: RetryCallState) -> Any:  # noqa: ANN401 - the result of any function
    return state.outcome.result() if state.outcome else None


class _Retrying(AsyncRetrying):
    """Leaves no reference cycle behind, however the call ends.

    Tenacity's state of a call refers to the called function and to itself; the traceback of an exception, also of a
    cancellation, refers to that state. Without this class the rows of an INSERT would stay in memory until the garbage
    collector runs, which is rare in the worker: measured, 300 MB instead of 130.
    """

    async def __call__(self, fn: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        async def attempt() -> Any:  # noqa: ANN401
            try:
                return await fn(*args, **kwargs)
            except BaseException as error:
                clear_frames(error.__traceback__)
                raise

        try:
            return await super().__call__(attempt)
        except BaseException as error:
            clear_frames(error.__traceback__)
            error.__context__ = None  # tenacity's own, which refers to the error again
            raise
        finally:
            self.iter_state.reset()


FOREVER = RetryPolicy(attempts=2**31, max_seconds=float("inf"), first_wait_seconds=0.5, max_wait_seconds=15.0)
"""For what is never given up: the probe of a store that is unavailable, a dead letter that is not acknowledged."""
