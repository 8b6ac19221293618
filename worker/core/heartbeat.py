"""Proof that the event loop runs, for the liveness endpoint."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

_INTERVAL_SECONDS = 1.0


class Heartbeat:
    """When the worker last made progress: `last` is as `time.monotonic` counts."""

    def __init__(self) -> None:
        self.last = monotonic()

    def beat(self) -> None:
        """Record progress now."""
        self.last = monotonic()

    @contextmanager
    def keep_beating(self) -> Iterator[None]:
        """Beat every second meanwhile, for Kafka or ClickHouse: waiting counts as progress."""
        beating = asyncio.create_task(self._beat_forever(), name="heartbeat")
        try:
            yield
        finally:
            beating.cancel()
            self.beat()

    async def _beat_forever(self) -> None:
        while True:
            self.beat()
            await asyncio.sleep(_INTERVAL_SECONDS)
