"""A worker starts held: it consumes only when ClickHouse and the dead-letter topic are ready.

Otherwise each start during an outage would read events, and could dead-letter a batch of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from worker.core.hold import Cause, Hold
from worker.core.retry import FOREVER, RetryPolicy, Sleep

FindProblem = Callable[[], Awaitable[str | None]]
"""Returns the problem of a dependency, or None."""


async def hold_until_ready(
    checks: Mapping[Cause, FindProblem], hold: Hold, backoff: RetryPolicy = FOREVER, sleep: Sleep = asyncio.sleep
) -> None:
    """Hold while any of `checks` finds a problem. Each is repeated with backoff until it finds none."""

    async def hold_for(cause: Cause, find_problem: FindProblem) -> None:
        failures = 0
        while problem := await find_problem():
            failures += 1
            hold.enter(cause, problem)
            await sleep(backoff.backoff_seconds(failures))
        hold.leave(cause)

    await asyncio.gather(*(hold_for(cause, find_problem) for cause, find_problem in checks.items()))
