"""A circuit breaker before the store: what is under way when an outage begins spends its own budget, nothing after it.

closed     inserts flow, each with its retry budget
open       the store is away: blocks wait in memory, a probe asks with backoff and jitter
half open  the probe was answered: inserts are let through to see; the first accepted one closes it,
           a failure opens it again, and that is no reason to dead-letter anything
"""

import asyncio
from enum import Enum, auto

import structlog

from worker.errors import StoreError
from worker.hold import Cause, Hold
from worker.ports import Store
from worker.retry import UNTIL_DONE, RetryPolicy, Sleep

log = structlog.get_logger(__name__)


class _State(Enum):
    CLOSED = auto()
    OPEN = auto()
    HALF_OPEN = auto()


class Breaker:
    """Keeps `hold` told of the store, and blocks from a store that is away.

    Args:
        store: what is probed while open.
        hold: entered when it opens, left when the store answers.
        probing: the pace of the probe; it is never given up, whatever its budget.
        sleep: waits between probes; tests put their own clock here.
    """

    def __init__(
        self, store: Store, hold: Hold, probing: RetryPolicy = UNTIL_DONE, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._store = store
        self._hold = hold
        self._probing = probing
        self._sleep = sleep
        self._state = _State.CLOSED
        self._failures = 0
        self._let_through = asyncio.Event()
        self._let_through.set()
        self._probe: asyncio.Task[None] | None = None

    @property
    def half_open(self) -> bool:
        """Whether the store is being tried after an outage."""
        return self._state is _State.HALF_OPEN

    async def admitted(self) -> None:
        """Wait while it is open."""
        await self._let_through.wait()

    def open(self, error: StoreError) -> None:
        """Hold because of `error`, and begin to probe."""
        self._hold.enter(Cause.STORE, f"{error.name}: {error}"[:500])
        if self._state is not _State.OPEN:
            self._failures += 1
            self._state = _State.OPEN
            self._let_through.clear()
            self._probe = asyncio.create_task(self._probe_until_answered(self._failures), name="store-probe")

    def close(self) -> None:
        """An insert was answered: the store is back."""
        if self._state is _State.HALF_OPEN:
            self._state = _State.CLOSED
            self._failures = 0

    async def stop(self) -> None:
        """End the probe."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)

    async def _ask(self) -> None:
        try:
            await self._store.probe()
        except StoreError:
            raise
        except Exception:
            # A mistake of ours. The probe must go on all the same: without it the worker would hold for ever.
            log.exception("the probe failed unexpectedly")
            raise

    async def _probe_until_answered(self, failures: int) -> None:
        # A store that answers probes and refuses inserts must not be asked without end in quick succession.
        wait = min(self._probing.first_wait_seconds * 2 ** min(failures - 1, 30), self._probing.max_wait_seconds)
        await self._sleep(wait)
        async for attempt in self._probing.without_end(Exception, self._sleep):
            with attempt:
                await self._ask()
        self._state = _State.HALF_OPEN
        self._hold.leave(Cause.STORE)
        self._let_through.set()
