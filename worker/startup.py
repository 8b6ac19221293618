"""A worker starts held: it consumes only when ClickHouse and the dead-letter topic are ready.

Otherwise each start during an outage would read events, and could dead-letter a batch of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from worker.core.hold import Cause, Hold
from worker.core.retry import FOREVER, RetryPolicy, Sleep


class StartupCheck(NamedTuple):
    """A check of one dependency: the cause to hold for, and a function that returns its problem, or None."""

    cause: Cause
    find_problem: Callable[[], Awaitable[str | None]]


async def hold_until_ready(
    checks: Sequence[StartupCheck], hold: Hold, backoff: RetryPolicy = FOREVER, sleep: Sleep = asyncio.sleep
) -> None:
    """Hold while any of `checks` finds a problem. Each is repeated with backoff until it finds none."""
    await asyncio.gather(*(_hold_for(check, hold, backoff, sleep) for check in checks))


async def _hold_for(check: StartupCheck, hold: Hold, backoff: RetryPolicy, sleep: Sleep) -> None:
    failures = 0
    while problem := await check.find_problem():
        failures += 1
        hold.enter(check.cause, problem)
        await sleep(backoff.backoff_seconds(failures))
    hold.leave(check.cause)
