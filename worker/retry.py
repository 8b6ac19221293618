"""How often and how long something is tried again, as tenacity understands it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from traceback import clear_frames
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, stop_before_delay, stop_never
from tenacity.stop import stop_base
from tenacity.wait import wait_random_exponential

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class RetryPolicy:
    """A budget of attempts and of time, with exponential backoff and full jitter between the attempts.

    Full jitter (any wait from 0 to the backoff) keeps the workers of a group from returning all at once; see
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Attributes:
        attempts: how often at most, the first time included.
        max_seconds: no new attempt begins later than this after the first.
        first_wait_seconds: upper end of the first wait; it doubles with each.
        max_wait_seconds: upper end of any wait.
    """

    attempts: int = 8
    max_seconds: float = 60.0
    first_wait_seconds: float = 0.2
    max_wait_seconds: float = 10.0

    def retrying(self, on: type[Exception], sleep: Sleep = asyncio.sleep) -> AsyncRetrying:
        """Iterate over attempts while they raise `on`; when the budget is spent the last error comes through."""
        return self._retrying(on, sleep, stop_after_attempt(self.attempts) | stop_before_delay(self.max_seconds))

    def without_end(self, on: type[Exception], sleep: Sleep = asyncio.sleep) -> AsyncRetrying:
        """Iterate over attempts at the pace of this policy while they raise `on`, whatever the budget."""
        return self._retrying(on, sleep, stop_never)

    def _retrying(self, on: type[Exception], sleep: Sleep, stop: stop_base) -> AsyncRetrying:
        return _Retrying(
            retry=retry_if_exception_type(on),
            stop=stop,
            wait=wait_random_exponential(multiplier=self.first_wait_seconds, max=self.max_wait_seconds),
            sleep=sleep,
            reraise=True,
        )


class _Retrying(AsyncRetrying):
    """Leaves no reference cycle behind, whatever its end.

    Tenacity keeps the exception, whose traceback leads to the frames in which tenacity keeps it, and those lead on to
    the rows of the insert that failed. The worker's collector runs rarely, so that failed inserts would pile up:
    measured, 300 MB where 130 do. The traceback stays, with its files and lines.
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
        except BaseException as error:  # also when it is cancelled, on a revoke
            clear_frames(error.__traceback__)
            error.__context__ = None  # tenacity's own, which leads to the error again
            raise
        finally:
            self.iter_state.reset()


UNTIL_DONE = RetryPolicy(attempts=2**31, max_seconds=float("inf"), first_wait_seconds=0.5, max_wait_seconds=15.0)
"""For what must not be given up: the probe of a store that is away, a dead letter that is not acknowledged."""
