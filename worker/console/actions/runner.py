"""Previews and runs actions by the functions that the commands use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from time import time
from typing import Protocol

from worker.console.actions.counts import count_preview, count_result, count_settlement, sample_edits
from worker.console.actions.request import ActionKind
from worker.console.actions.run import ActionRun, ActionState
from worker.core.errors import DependencyError
from worker.core.process import run_unless_stopped
from worker.dead_letters.settlement import Action, Settlement
from worker.replay.event_editor import EventEditor
from worker.replay.journal import Journal
from worker.replay.manual_settlement import ManualSettlement
from worker.replay.plan import ReplayPolicy
from worker.replay.scan import DeadLetterScan
from worker.replay.session import ReplayConnections, preview_replay, run_replay

_ACTIONS = {
    ActionKind.REPLAY: Action.REPLAYED,
    ActionKind.EDIT: Action.EDITED,
    ActionKind.DISCARD: Action.DISCARDED,
    ActionKind.RESTORE: Action.REOPENED,
}


class ActionConnections(ReplayConnections, Protocol):
    """Connects to Kafka and ClickHouse. Entering raises DependencyError if one of them cannot be reached."""

    def open_scan(self) -> AbstractAsyncContextManager[DeadLetterScan]:
        """Connect to the dead-letter topic, and read its settlements."""

    def open_journal(self, entry: Settlement) -> AbstractAsyncContextManager[Journal]:
        """Connect to the dead-letter topic, to append settlements like `entry` to it."""


class ActionRunner:
    """Previews and runs actions.

    Every method raises DependencyError if Kafka or ClickHouse cannot be reached, and InvalidExpression or SettingsError
    if an edit cannot begin.

    Args:
        policy: of a replay, without what an operator chooses.
    """

    def __init__(self, connections: ActionConnections, policy: ReplayPolicy) -> None:
        self._connections = connections
        self._policy = policy

    async def preview(self, run: ActionRun) -> None:
        """Find out what an action would do; nothing is written. It can be cancelled."""
        async with self._connections.open_scan() as scan:
            run.offset_ranges, run.checked_at = scan.offset_ranges, time()
            run.last_records = await scan.identify_last_records()
            scan.restrict_to(run.request.narrow(scan.offset_ranges))
            if run.request.kind.replays:
                await self._preview_replay(run, scan)
            else:
                run.checked = await _choose(run, scan)
                run.preview = count_settlement(run.checked)

    async def execute(self, run: ActionRun) -> None:
        """Act on the dead letters that are still there, of those up to the preview, until the run is stopped."""
        run.begin()
        async with AsyncExitStack() as stack:
            # Settlements since the preview count: others act too.
            scan = await run_unless_stopped(run.stop, stack.enter_async_context(self._connections.open_scan()))
            if scan is None:
                run.end(ActionState.STOPPED)
                return
            await _require_same_topic(run, scan)
            scan.restrict_to(run.request.narrow(run.offset_ranges))
            if run.request.kind.replays:
                await self._replay(run, scan)
            else:
                await self._settle(run, scan)

    async def _preview_replay(self, run: ActionRun, scan: DeadLetterScan) -> None:
        policy = self._create_policy(run)
        async with _open_editor(run) as editor:
            preview = await preview_replay(self._connections, scan, policy, editor, dry_run=True)
        run.preview = count_preview(preview)
        run.samples = sample_edits(preview.edits) if preview.edits else ()

    async def _replay(self, run: ActionRun, scan: DeadLetterScan) -> None:
        async with _open_editor(run) as editor:
            result = await run_replay(
                self._connections,
                scan,
                self._create_policy(run),
                _create_entry(run),
                editor,
                run.stop,
                on_progress=run.set_done,
                on_finishing=run.set_finishing,
            )
        run.result, run.failures = count_result(result), result.failures
        if result.problem is not None:
            run.end(ActionState.FAILED, result.problem)
        else:
            run.end(ActionState.STOPPED if result.interrupted and not result.complete else ActionState.DONE)

    async def _settle(self, run: ActionRun, scan: DeadLetterScan) -> None:
        chosen = await run_unless_stopped(run.stop, _choose(run, scan))
        if chosen is None:
            run.end(ActionState.STOPPED)
            return
        if chosen.by_class:
            async with self._connections.open_journal(_create_entry(run)) as journal:
                await chosen.write(journal, run.set_done)  # to the end: a few records
        run.result = count_settlement(chosen)
        run.end(ActionState.DONE)

    def _create_policy(self, run: ActionRun) -> ReplayPolicy:
        request = run.request
        return replace(
            self._policy,
            filter=request.filter,
            limit=request.limit,
            metrics_per_second=request.rate,
            max_replays=request.max_replays,
        )


async def _require_same_topic(run: ActionRun, scan: DeadLetterScan) -> None:
    """Raises DependencyError if offsets name other records than those of the preview."""
    now = scan.offset_ranges
    went_back = any(
        now.get(at, range(0)).start < before.start or now.get(at, range(0)).stop < before.stop
        for at, before in run.offset_ranges.items()
    )
    if went_back or not await scan.has_records(run.last_records):
        raise DependencyError(
            "the dead-letter topic is not the one that was checked: it was deleted and created again, or has lost "
            "records at its end. Nothing was done; check again"
        )


async def _choose(run: ActionRun, scan: DeadLetterScan) -> ManualSettlement:
    request = run.request
    settled_by = request.settled_by if request.kind is ActionKind.RESTORE else None
    return await ManualSettlement(request.filter, request.limit, run.checked).read(scan, settled_by)


def _create_entry(run: ActionRun) -> Settlement:
    request = run.request
    now = int(time() * 1000)
    action = _ACTIONS[request.kind]
    return Settlement(action, run.id, run.by, now, request.reason, request.description, edit=request.expression)


@asynccontextmanager
async def _open_editor(run: ActionRun) -> AsyncIterator[EventEditor | None]:
    """Start the process of an edit. In a thread: it can take seconds to read the expression."""
    request = run.request
    if request.kind is not ActionKind.EDIT:
        yield None
        return
    starting = asyncio.create_task(asyncio.to_thread(EventEditor, request.expression or "", run.by))
    try:
        editor = await asyncio.shield(starting)
    except asyncio.CancelledError:
        (await starting).close()
        raise
    try:
        yield editor
    finally:
        editor.close()
