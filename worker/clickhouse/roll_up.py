"""Watches the refreshable view that fills the roll-up per day: no query fails when its refresh does."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.core.errors import StoreError
from worker.core.process import cancel_tasks

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 60.0
_TIMEOUT_SECONDS = 5.0
_MESSAGE_CHARACTERS = 300


def find_refresh_error(target: ClickHouseTarget) -> str | None:
    """Why the last refresh failed, empty if it did not; None where this user sees no such view.

    On a cluster it is the view of the server that answers.

    Raises StoreError if ClickHouse refuses or cannot be reached.
    """
    view = f"{target.table}_per_day_refresh{'_local' if target.cluster else ''}"
    found = run_statement(
        replace(target, timeout_seconds=min(target.timeout_seconds, _TIMEOUT_SECONDS)),
        "SELECT exception FROM system.view_refreshes WHERE database = %(database)s AND view = %(view)s",
        {"database": target.database, "view": view},
    )
    return str(found[0][0])[:_MESSAGE_CHARACTERS] if found else None


class RollUpMonitor:
    """Asks once a minute, and calls `on_state` with whether the last refresh failed, or None if that is not known."""

    def __init__(self, target: ClickHouseTarget, on_state: Callable[[bool | None], object]) -> None:
        self._target = target
        self._on_state = on_state
        self._last_error = ""
        # Its own thread: a stop does not wait for a server that does not answer.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="roll-up")
        self._task = asyncio.create_task(self._run(), name="roll-up monitor")

    async def close(self) -> None:
        """Ask no more."""
        await cancel_tasks(self._task)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                error = await loop.run_in_executor(self._thread, find_refresh_error, self._target)
            except StoreError as failure:  # the writer reports an outage
                log.debug("could not ask for the refresh of the roll-up", error=str(failure.outcome))
                error = None
            self._on_state(None if error is None else bool(error))
            if error and error != self._last_error:
                log.warning("ClickHouse cannot refresh the roll-up per day", error=error)
            self._last_error = error or ""
            await asyncio.sleep(_INTERVAL_SECONDS)
