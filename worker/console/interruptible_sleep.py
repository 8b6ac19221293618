"""A pause that ends early when there is something to do."""

import asyncio


class InterruptibleSleep:
    """Sleeps, until it is woken: what it is woken for while nobody sleeps ends the next sleep at once."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Sleep for so long at most."""
        waiting = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait([waiting], timeout=seconds)
        finally:
            waiting.cancel()
        self._wake.clear()

    def wake(self) -> None:
        """End the sleep."""
        self._wake.set()
