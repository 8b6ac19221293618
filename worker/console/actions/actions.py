"""The actions of this process: those that run, and the last ones."""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from worker.console.actions.request import ActionRequest
from worker.console.actions.run import ActionRun, ActionState
from worker.console.actions.runner import ActionRunner
from worker.core.errors import DependencyError, SettingsError, WorkerError
from worker.core.process import cancel_tasks, run_unless_stopped
from worker.replay.event_editor import InvalidExpression

log = structlog.get_logger(__name__)

MAX_ACTIVE = 10
"""Actions that run or wait for others; more are refused."""
_MAX_PREVIEWS = 2
"""At the same time; each reads the topic, and that of an edit has a process of its own."""
_MAX_REMEMBERED = 50
_BUG = "This program has failed; its log has the error."


class TooManyActions(WorkerError):
    """No more are accepted now."""


class Actions:
    """Runs each action in a task of its own: previews beside each other, what writes one after the other.

    Args:
        on_written: called when an action that may have written something is over.
        stop_seconds: how long an action that runs at the end of the process may take to stop.
    """

    def __init__(
        self, runner: ActionRunner, on_written: Callable[[], object] = lambda: None, stop_seconds: float = 25.0
    ) -> None:
        self._runner = runner
        self._on_written = on_written
        self._stop_seconds = stop_seconds
        self._runs: dict[str, ActionRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._previews = asyncio.Semaphore(_MAX_PREVIEWS)
        self._writes = asyncio.Lock()

    def latest(self) -> list[ActionRun]:
        """The actions that are remembered, the last one first."""
        return list(self._runs.values())[::-1]

    def find(self, action: str) -> ActionRun | None:
        """The action with this ID."""
        return self._runs.get(action)

    def preview(self, request: ActionRequest, by: str) -> ActionRun:
        """Start the preview of an action. Raises TooManyActions."""
        self._make_room()
        run = ActionRun(request, by)
        self._runs[run.id] = run
        self._start(run, self._preview(run))
        return run

    def confirm(self, run: ActionRun) -> None:
        """Start an action whose preview is done; any other stays as it is. Raises TooManyActions."""
        if run.state is not ActionState.READY:
            return
        self._require_capacity()
        run.state = ActionState.WAITING
        self._start(run, self._execute(run))

    def stop(self, run: ActionRun) -> None:
        """Stop an action: a preview at once, a replay after the batch in flight. What is over stays as it is."""
        run.stop.set()
        if run.state is ActionState.READY:
            run.end(ActionState.STOPPED)

    async def wait(self, run: ActionRun, seconds: float) -> None:
        """Wait until nothing of an action runs, for so long at most."""
        if (task := self._tasks.get(run.id)) is not None:
            await asyncio.wait([task], timeout=seconds)

    async def run(self) -> None:
        """Do nothing until it is cancelled; then stop all actions, as Ctrl-C stops a command."""
        try:
            await asyncio.Event().wait()
        finally:
            for run in self._runs.values():
                run.stop.set()
            if tasks := list(self._tasks.values()):
                await asyncio.wait(tasks, timeout=self._stop_seconds)
                await cancel_tasks(*tasks)

    def _require_capacity(self) -> None:
        if sum(run.is_active for run in self._runs.values()) >= MAX_ACTIVE:
            raise TooManyActions(f"{MAX_ACTIVE} actions run or wait: try again when one of them is over.")

    def _make_room(self) -> None:
        """Forget the first action that is over, if there are too many; else the first one that waits for its user."""
        self._require_capacity()
        if len(self._runs) >= _MAX_REMEMBERED:
            inactive = [run for run in self._runs.values() if not run.is_active]
            del self._runs[min(inactive, key=lambda run: not run.is_over).id]

    def _start(self, run: ActionRun, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._finish(run, work), name=f"action-{run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda done: self._tasks.pop(run.id) if self._tasks.get(run.id) is done else None)

    async def _finish(self, run: ActionRun, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (DependencyError, InvalidExpression, SettingsError) as error:
            run.end(ActionState.FAILED, str(error))
        except Exception:  # the console and the other actions go on
            log.exception("an action has failed", action=run.id, by=run.by, what=run.request.description)
            run.end(ActionState.FAILED, _BUG)
        finally:
            if run.has_begun:
                log.info("action ended", action=run.id, by=run.by, what=run.request.description, state=run.state)
                self._on_written()

    async def _preview(self, run: ActionRun) -> None:
        if await run_unless_stopped(run.stop, self._check(run)) is None or run.stop.is_set():
            run.end(ActionState.STOPPED)
        else:
            run.state = ActionState.READY

    async def _check(self, run: ActionRun) -> bool:
        async with self._previews:
            await self._runner.preview(run)
        return True

    async def _execute(self, run: ActionRun) -> None:
        if await run_unless_stopped(run.stop, self._writes.acquire()) is None:
            run.end(ActionState.STOPPED)
            return
        try:
            log.info("action begins", action=run.id, by=run.by, what=run.request.description)
            await self._runner.execute(run)
        finally:
            self._writes.release()
