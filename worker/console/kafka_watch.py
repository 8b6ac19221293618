"""Whether Kafka answers: a broker that hangs refuses nothing, and what waits for it finds that out much later."""

import asyncio
from collections.abc import Awaitable, Callable
from time import time

from worker.core.errors import DependencyError
from worker.core.retry import Sleep

_PAUSE_SECONDS = 5.0
_MAX_SILENCE_SECONDS = 12.0
"""More than a pause and a slow answer take, and so short that a page warns within 15 s."""


class KafkaWatch:
    """Asks Kafka again and again, by a connection of its own, for nothing but an answer.

    Args:
        ping: returns when Kafka has answered; raises DependencyError if it does not.
        clock: Unix time.
    """

    def __init__(
        self, ping: Callable[[], Awaitable[None]], sleep: Sleep = asyncio.sleep, clock: Callable[[], float] = time
    ) -> None:
        self._ping = ping
        self._sleep = sleep
        self._clock = clock
        self._answered_at: float | None = None

    @property
    def silent_since(self) -> float | None:
        """When Kafka last answered (Unix time), if that is too long ago; None if it answers, or never has."""
        at = self._answered_at
        return at if at is not None and self._clock() - at > _MAX_SILENCE_SECONDS else None

    async def run(self) -> None:
        """Ask until it is cancelled."""
        while True:
            try:
                await self._ping()
                self._answered_at = self._clock()
            except DependencyError:
                pass  # the watch over the topic says why
            await self._sleep(_PAUSE_SECONDS)
