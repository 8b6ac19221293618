"""A clock that advances only when a coroutine sleeps."""

import asyncio
from collections.abc import Callable


class FakeClock:
    """Replaces `asyncio.sleep`, and the module `time` in libraries.

    Attributes:
        slept: each requested wait, in seconds.
        watch: called at the beginning of each wait.
    """

    def __init__(self, watch: Callable[[], object] = lambda: None) -> None:
        self.slept: list[float] = []
        self.watch = watch
        self._now = 1_000.0

    async def sleep(self, seconds: float) -> None:
        """Advance by `seconds` at once, and let other tasks run."""
        self.slept.append(seconds)
        self.watch()
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Advance without a sleep, as during a slow call."""
        self._now += seconds

    def monotonic(self) -> float:
        """Replaces `time.monotonic`."""
        return self._now


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until `condition` holds; the clock does not advance.

    Raises:
        TimeoutError: it does not within some seconds.
    """
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0)
