"""What a replay with an edit would do to each dead letter: nothing is written.

Every chosen event is edited, decoded by the worker's own rules, and its rows are compared with the constraints of the
table. What only an INSERT shows is not known, such as a view that throws.
"""

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from worker.core.errors import ErrorClass, StoreError
from worker.core.model import DeadLetterPosition, Record, ReplayedRecord
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.value import InvalidDeadLetter
from worker.events.fan_out import FanOut
from worker.ports import SourceRecordFetcher, TableConstraints
from worker.replay.contents import SourceRecordMissing
from worker.replay.edit import EditedEvent, fan_out_edited
from worker.replay.event_editor import EditFailed, EventEditor
from worker.replay.plan import ReplayPolicy, ReplaySelection
from worker.replay.result import bounded_reason
from worker.replay.scan import DeadLetterScan

_SAMPLES = 3


class EditSample(NamedTuple):
    """An event before and after the edit, as JSON; `problem` is why the edited one would fail, None if it would not."""

    position: DeadLetterPosition
    edited: EditedEvent
    problem: str | None


@dataclass
class _Batch:
    """Edited dead letters whose rows are not compared yet."""

    fan_out: FanOut
    letters: dict[DeadLetterPosition, ErrorClass] = field(default_factory=dict)
    samples: dict[DeadLetterPosition, EditedEvent] = field(default_factory=dict)
    bytes: int = 0


class EditPreview:
    """Edits the chosen dead letters, and writes nothing.

    Attributes:
        selection: which are chosen, accepted and refused.
        samples: the first edited events.
        examples: of each class and reason in `selection.refused`, the first dead letter.
        unchecked: why the constraints of the table are not known; None if they are.
        rows: how many the edited events have, with those that would be refused.
        skipped: how many metrics of the edited events are no numbers, by JSON type.
    """

    def __init__(
        self, policy: ReplayPolicy, editor: EventEditor, sources: SourceRecordFetcher, constraints: TableConstraints
    ) -> None:
        self._policy = policy
        self._editor = editor
        self._sources = sources
        self._constraints = constraints
        self.selection = ReplaySelection(policy)
        self.samples: list[EditSample] = []
        self.examples: dict[tuple[ErrorClass, str], DeadLetterPosition] = {}
        self.unchecked: str | None = None
        self.rows = 0
        self.skipped: Counter[str] = Counter()

    async def read(self, scan: DeadLetterScan) -> "EditPreview":
        """Read all open dead letters; returns itself. Raises DependencyError if Kafka cannot be reached."""
        batch = self._new_batch()
        async with aclosing(scan.read_batches()) as batches:
            async for items in batches:
                for item in items:
                    if not self.selection.visit(item) or isinstance(item, ForeignRecord):
                        continue
                    await self._add(item, batch)
                    if len(batch.fan_out) >= self._policy.batch_metrics or batch.bytes >= self._policy.max_bytes:
                        await self._judge(batch)
                        batch = self._new_batch()
        await self._judge(batch)
        return self

    def _new_batch(self) -> _Batch:
        return _Batch(FanOut(self._policy.event_policy))

    async def _add(self, letter: DeadLetter, batch: _Batch) -> None:
        error_class = letter.failure.error_class
        try:
            edited = await fan_out_edited(letter, batch.fan_out, self._sources, self._editor)
        except (EditFailed, InvalidDeadLetter, SourceRecordMissing) as error:
            self.selection.discount()
            self._refuse(error_class, letter.position, str(error))
            return
        batch.letters[letter.position] = error_class
        batch.bytes += len(edited.before) + len(edited.after)
        if len(self.samples) + len(batch.samples) < _SAMPLES:
            batch.samples[letter.position] = edited

    async def _judge(self, batch: _Batch) -> None:
        self.rows += batch.fan_out.rows
        self.skipped.update(batch.fan_out.skipped)
        problems = {
            _position_of(failed.record): f"{failed.failure.error_type}: {failed.failure.message}"
            for failed in reversed(batch.fan_out.failed)
        } | await self._find_violations(batch.fan_out)
        for position, error_class in batch.letters.items():
            if position in problems:
                self._refuse(error_class, position, problems[position])
            else:
                self.selection.accepted[error_class] += 1
        self.samples += (
            EditSample(position, edited, problems.get(position)) for position, edited in batch.samples.items()
        )

    async def _find_violations(self, fan_out: FanOut) -> dict[DeadLetterPosition, str]:
        found: dict[DeadLetterPosition, str] = {}
        for block in fan_out.blocks.values():
            if self.unchecked is None:
                try:
                    violations = await self._constraints.find_violations(block)
                except StoreError as error:
                    self.unchecked = str(error.outcome)
                    break
                for row, constraint in violations:
                    found[_position_of(row.event.record)] = f"violates the constraint {constraint.expression}"
        return found

    def _refuse(self, error_class: ErrorClass, position: DeadLetterPosition, reason: str) -> None:
        key = bounded_reason(self.selection.refused, error_class, reason)
        self.selection.refused[key] += 1
        self.examples.setdefault(key, position)


def _position_of(record: Record) -> DeadLetterPosition:
    """That of the dead letter from which `record` was rebuilt."""
    return cast("ReplayedRecord", record).replaces
