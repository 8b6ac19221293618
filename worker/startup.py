"""A worker starts held: it consumes only when ClickHouse and the dead-letter topic are ready.

Otherwise each start during an outage would read events, and could dead-letter a batch of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog

from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.table_check import find_schema_differences
from worker.core.errors import StoreError
from worker.core.hold import Cause, Hold
from worker.core.outcome import OutcomeKind
from worker.core.retry import FOREVER, RetryPolicy, Sleep
from worker.ports import Store

log = structlog.get_logger(__name__)

_TABLE_CHECK_SECONDS = 5.0
_ACCESS_DENIED = 497


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


async def find_store_problem(store: Store, target: ClickHouseTarget) -> str | None:
    """Why the table cannot be written, or does not fit what the worker writes; None if neither."""
    outcome = await store.probe()
    if outcome.kind is not OutcomeKind.WRITTEN:
        return str(outcome)
    table = f"{target.host}:{target.port} {target.database}.{target.table}"
    # A thread that waits for the server cannot be cancelled; with a short time-out a stop does not wait for it long.
    quick_target = replace(target, timeout_seconds=min(target.timeout_seconds, _TABLE_CHECK_SECONDS))
    try:
        differences = await asyncio.to_thread(find_schema_differences, quick_target)
    except StoreError as error:
        if error.code != _ACCESS_DENIED:
            return str(error.outcome)
        # The table accepts inserts; that this user may not read its description is no reason to hold.
        log.warning("could not check whether the table fits", table=table, error=str(error.outcome))
        return None
    return f"ClickHouse {table} does not fit what the worker writes: {'; '.join(differences)}" if differences else None
