"""A worker holds while a dependency is not ready: at its start each of them, later the dead-letter topic.

Otherwise each start during an outage would read events, and could dead-letter a batch of them. And a worker may run for
weeks before it writes the dead letter that shows that the topic is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from worker.core.hold import Cause, Hold
from worker.core.retry import FOREVER, RetryPolicy, Sleep

log = structlog.get_logger(__name__)

FindProblem = Callable[[], Awaitable[str | None]]
"""Returns the problem of a dependency, or None."""

_WATCH_SECONDS = 10.0


async def hold_until_ready(
    checks: Mapping[Cause, FindProblem], hold: Hold, backoff: RetryPolicy = FOREVER, sleep: Sleep = asyncio.sleep
) -> None:
    """Hold while any of `checks` finds a problem. Each is repeated with backoff until it finds none."""
    await asyncio.gather(
        *(_hold_while_unready(cause, find_problem, hold, backoff, sleep) for cause, find_problem in checks.items())
    )


async def watch_dependency(
    cause: Cause,
    find_problem: FindProblem,
    hold: Hold,
    backoff: RetryPolicy = FOREVER,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Check every few seconds, and hold while there is a problem. It runs until it is cancelled.

    While something else holds for this `cause` it does not check: writes are then repeated, and show more.
    """
    while True:
        await sleep(_WATCH_SECONDS)
        if cause in hold.reasons:
            continue
        try:
            await _hold_while_unready(cause, find_problem, hold, backoff, sleep)
        except Exception:
            log.exception("a dependency could not be checked", cause=cause.value)


async def _hold_while_unready(
    cause: Cause, find_problem: FindProblem, hold: Hold, backoff: RetryPolicy, sleep: Sleep
) -> None:
    failures = 0
    try:
        while problem := await find_problem():
            failures += 1
            hold.enter(cause, problem)
            await sleep(backoff.backoff_seconds(failures))
    finally:
        if failures:
            hold.leave(cause)
