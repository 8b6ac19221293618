"""One replay from its preview to its result, for the command and the console alike."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from worker.core.errors import DependencyError
from worker.dead_letters.settlement import Settlement
from worker.replay.edit_preview import EditPreview
from worker.replay.event_editor import EventEditor
from worker.replay.plan import ReplayPolicy, ReplaySelection
from worker.replay.replayer import Replayer
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan


class ReplayConnections(Protocol):
    """Connects to Kafka and ClickHouse. Entering raises DependencyError if one of them cannot be reached."""

    def open_edit_preview(self, policy: ReplayPolicy, editor: EventEditor) -> AbstractAsyncContextManager[EditPreview]:
        """Build the preview of an edit."""

    def open_replay(
        self,
        scan: DeadLetterScan,
        policy: ReplayPolicy,
        entry: Settlement,
        editor: EventEditor | None,
        *,
        on_progress: Callable[[int], object],
        on_finishing: Callable[[float], object],
    ) -> AbstractAsyncContextManager[Replayer]:
        """Build a replay. `entry` is that of its journal; for the functions see `Replayer`."""


class ReplayPreview(NamedTuple):
    """What a replay would do; `edits` is None if it does not edit."""

    selection: ReplaySelection
    edits: EditPreview | None = None


async def preview_replay(
    connections: ReplayConnections,
    scan: DeadLetterScan,
    policy: ReplayPolicy,
    editor: EventEditor | None,
    *,
    dry_run: bool,
) -> ReplayPreview:
    """Read all open dead letters, and write nothing. A dry run and an edit also decode the chosen ones.

    Raises DependencyError if Kafka cannot be reached.
    """
    if editor is None:
        return ReplayPreview(await scan.scan(ReplaySelection(policy, dry_run=dry_run)))
    async with connections.open_edit_preview(policy, editor) as edits:
        await edits.read(scan)
    return ReplayPreview(edits.selection, edits)


async def run_replay(
    connections: ReplayConnections,
    scan: DeadLetterScan,
    policy: ReplayPolicy,
    entry: Settlement,
    editor: EventEditor | None,
    stop: asyncio.Event,
    *,
    on_progress: Callable[[int], object],
    on_finishing: Callable[[float], object],
) -> ReplayResult:
    """Replay until all is done, `stop` is set, or a dependency is unavailable: then the result has the problem."""
    opening = connections.open_replay(scan, policy, entry, editor, on_progress=on_progress, on_finishing=on_finishing)
    try:
        async with opening as replayer:
            return await replayer.run(stop)
    except DependencyError as error:
        return ReplayResult(ReplaySelection(policy), problem=str(error))  # nothing was written yet
