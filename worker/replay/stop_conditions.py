"""What ends a replay early: a request to stop, or an unavailable dependency."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

from worker.core.errors import DependencyError
from worker.core.hold import Cause, Hold
from worker.core.process import cancel_tasks

T = TypeVar("T")
_NAMES = {Cause.STORE: "ClickHouse", Cause.DEAD_LETTERS: "the dead-letter topic"}


class WatchedHold(Hold):
    """A hold that keeps its last reason, and sets `entered` when it begins for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self._last: list[tuple[Cause, str]] = []

    @property
    def description(self) -> str:
        """The current reasons; without any, the last one."""
        return "; ".join(f"{_NAMES[cause]}: {reason}" for cause, reason in self.reasons.items() or self._last)

    def enter(self, cause: Cause, reason: str, *, in_doubt: bool = False) -> None:
        """See `Hold`."""
        super().enter(cause, reason, in_doubt=in_doubt)
        self._last = [(cause, reason)]
        self.entered.set()


class StopConditions:
    """Ends the work of a replay when a stop is requested or a dependency is unavailable.

    A stop waits `stop_seconds` for the batch in flight, and calls `on_finishing` with them when this begins. Every
    method that waits raises DependencyError when the hold begins.
    """

    def __init__(
        self, stop: asyncio.Event, hold: WatchedHold, stop_seconds: float, on_finishing: Callable[[float], object]
    ) -> None:
        self._stopping = asyncio.create_task(stop.wait())
        self._held = asyncio.create_task(hold.entered.wait())
        self._hold = hold
        self._stop_seconds = stop_seconds
        self._on_finishing = on_finishing
        self._has_waited = False

    async def close(self) -> None:
        """Cancel the waiting tasks."""
        await cancel_tasks(self._stopping, self._held)

    async def run_interruptibly(self, work: Coroutine[object, object, T]) -> T | None:
        """The result of `work`; None if a stop comes first, which cancels it."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait([task, self._stopping, self._held], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                await cancel_tasks(task)
        if not task.cancelled():
            return task.result()
        if self._held.done():
            raise DependencyError(self._hold.description)
        return None

    async def wait_for_batch(self, batch: asyncio.Task[None] | None) -> None:
        """Wait for a batch to be done; after a stop `stop_seconds` at most."""
        if batch is None:
            return
        await asyncio.wait([batch, self._stopping, self._held], return_when=asyncio.FIRST_COMPLETED)
        if not (batch.done() or self._held.done() or self._has_waited):
            # Only once: no batch begins after it, and the platform does not wait twice as long.
            self._has_waited = True
            self._on_finishing(self._stop_seconds)
            await asyncio.wait([batch, self._held], timeout=self._stop_seconds, return_when=asyncio.FIRST_COMPLETED)
        if batch.done():
            batch.result()
        elif self._held.done():
            raise DependencyError(self._hold.description)
