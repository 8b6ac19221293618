"""One action: what is known of it, from its preview to its result."""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from worker.console.actions.request import ActionRequest
from worker.console.payload import Payload
from worker.core.model import DeadLetterPosition

if TYPE_CHECKING:
    from worker.replay.manual_settlement import ManualSettlement
    from worker.replay.result import ReplayFailure


class ActionState(StrEnum):
    """How far an action is. The first two write nothing."""

    CHECKING = "checking"
    READY = "ready"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class ClassCount(NamedTuple):
    """Dead letters of one class.

    Attributes:
        written: how many become rows, or would; None if the action writes none.
        failed: how many fail again, or would be refused.
    """

    name: str
    chosen: int
    written: int | None
    failed: int


class Counts(NamedTuple):
    """What an action does, or would do.

    Attributes:
        notes: what is left, and why.
    """

    classes: Sequence[ClassCount]
    notes: Sequence[str]

    @property
    def chosen(self) -> int:
        """All chosen dead letters."""
        return sum(each.chosen for each in self.classes)

    @property
    def failed(self) -> int:
        """All that fail again."""
        return sum(each.failed for each in self.classes)


class Sample(NamedTuple):
    """An event before and after the edit; `problem` is why the edited one would be refused."""

    position: DeadLetterPosition
    before: Payload
    after: Payload
    problem: str | None


class ActionRun:
    """An action.

    Attributes:
        by: the name of the user.
        created_at: Unix time.
        offset_ranges: the topic at the time of the preview: later dead letters are not of this action.
        last_records: those of each partition then, by which the topic is recognised.
        checked: what the preview of a discard or restore has chosen, until the action ends.
        checked_at: Unix time of the preview.
        preview, samples: its result; None before.
        result, failures: what the action has done so far, and some dead letters that were not written.
        problem: why it has failed.
        stop: set to stop it.
        is_finishing: whether it has been stopped, and waits for what was sent to ClickHouse.
        done: dead letters that are done.
    """

    def __init__(self, request: ActionRequest, by: str) -> None:
        self.id = uuid4().hex
        self.request = request
        self.by = by
        self.created_at = time()
        self.state = ActionState.CHECKING
        self.offset_ranges: Mapping[int, range] = {}
        self.last_records: Mapping[int, tuple[int, int]] = {}
        self.checked: ManualSettlement | None = None
        self.checked_at = 0.0
        self.preview: Counts | None = None
        self.samples: Sequence[Sample] = ()
        self.result: Counts | None = None
        self.failures: Sequence[ReplayFailure] = ()
        self.problem: str | None = None
        self.stop = asyncio.Event()
        self.is_finishing = False
        self.done = 0
        self._began: float | None = None
        self._ended: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.state in (ActionState.DONE, ActionState.STOPPED, ActionState.FAILED)

    @property
    def is_active(self) -> bool:
        """Whether it goes on by itself."""
        return not self.is_over and self.state is not ActionState.READY

    @property
    def has_begun(self) -> bool:
        """Whether it may have written something."""
        return self._began is not None

    @property
    def total(self) -> int:
        """Dead letters that the preview has chosen."""
        return self.preview.chosen if self.preview else 0

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        if self._began is None:
            return 0.0
        return (self._ended or monotonic()) - self._began

    @property
    def rate(self) -> float | None:
        """Dead letters per second; None if that is not known yet."""
        return self.done / self.seconds if self.done and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at this rate."""
        return max(self.total - self.done, 0) / self.rate if self.rate else None

    def begin(self) -> None:
        """Start the clock."""
        self._began = monotonic()
        self.samples = ()  # they were for the decision
        self.state = ActionState.RUNNING

    def end(self, state: ActionState, problem: str | None = None) -> None:
        """Set the last state."""
        self.state, self.problem, self.samples, self.checked = state, problem, (), None
        if self._began is not None:
            self._ended = monotonic()

    def set_done(self, done: int) -> None:
        """Set how many dead letters are done."""
        self.done = done

    def set_finishing(self, _seconds: float) -> None:
        """A stop waits for the batch in flight."""
        self.is_finishing = True
