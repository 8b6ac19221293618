"""Time that passes only when somebody sleeps."""

import asyncio
from collections.abc import Callable


class Clock:
    """Stands in for `asyncio.sleep`, and for the module `time` where a library asks that for the time.

    Attributes:
        slept: each wait that was asked for, in seconds.
        watch: called at the beginning of each wait, to see how things stand then.
    """

    def __init__(self, watch: Callable[[], object] = lambda: None) -> None:
        self.slept: list[float] = []
        self.watch = watch
        self._now = 1_000.0

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass at once, and others run."""
        self.slept.append(seconds)
        self.watch()
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody sleeping, as a slow server does."""
        self._now += seconds

    def monotonic(self) -> float:
        """The time, as `time.monotonic` tells it."""
        return self._now


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until `condition` holds; no time passes.

    Raises:
        TimeoutError: it does not within some seconds.
    """
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of things that have no event
            await asyncio.sleep(0)
