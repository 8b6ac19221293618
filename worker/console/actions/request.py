"""What an operator asks for: an action, and on which dead letters."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlencode

from worker.console.identity import Role
from worker.core.model import DeadLetterPosition
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.settlement import Action

DEFAULT_LIMIT, DEFAULT_RATE, DEFAULT_MAX_REPLAYS = 10_000, 5_000, 5


class ActionKind(StrEnum):
    """What an action does."""

    REPLAY = "replay"
    EDIT = "edit"
    DISCARD = "discard"
    RESTORE = "restore"

    @property
    def role(self) -> Role:
        """Who may do it: that role and higher ones."""
        return Role.EDITOR if self is ActionKind.EDIT else Role.OPERATOR

    @property
    def replays(self) -> bool:
        """Whether it writes rows, and therefore needs ClickHouse."""
        return self in (ActionKind.REPLAY, ActionKind.EDIT)


class ActionRequest(NamedTuple):
    """An action on all dead letters of a cause, or on some dead letters.

    Attributes:
        cause: the ID of the cause; None if `letters` are given.
        limit: at most so many dead letters.
        rate: metrics per second, at most.
        expression: of an edit.
        settled_by: of a restore: what has settled the dead letters.
    """

    kind: ActionKind
    cause: str | None = None
    letters: tuple[DeadLetterPosition, ...] = ()
    limit: int = DEFAULT_LIMIT
    rate: int = DEFAULT_RATE
    max_replays: int = DEFAULT_MAX_REPLAYS
    reason: str | None = None
    expression: str | None = None
    settled_by: Action = Action.DISCARDED

    @property
    def filter(self) -> DeadLetterFilter:
        """What selects the dead letters."""
        if self.cause is not None:
            return DeadLetterFilter(causes=frozenset({self.cause}))
        return DeadLetterFilter(positions=frozenset(self.letters))

    @property
    def target(self) -> str:
        """The dead letters, in a few words."""
        if self.cause is not None:
            return f"cause {self.cause}"
        return f"dead letter {self.letters[0]}" if len(self.letters) == 1 else f"{len(self.letters)} dead letters"

    @property
    def description(self) -> str:
        """What the journal has in place of a command line; `past_action` parses it."""
        what = f"--cause {self.cause}" if self.cause is not None else " ".join(map(str, self.letters))
        replays = f" --rate {self.rate} --max-replays {self.max_replays}" * self.kind.replays
        settled_by = f" --settled-by {self.settled_by}" * (self.kind is ActionKind.RESTORE)
        return f"console: {self.kind} {what} --limit {self.limit}{replays}{settled_by}"

    @property
    def query(self) -> str:
        """The address of the form in which the operator can change it."""
        fields: dict[str, object] = {
            "do": self.kind,
            "cause": self.cause,
            "letter": self.letters,
            "limit": self.limit,
            "rate": self.rate,
            "max_replays": self.max_replays,
            "reason": self.reason,
            "expression": self.expression,
            "settled_by": self.settled_by,
        }
        return urlencode({name: value for name, value in fields.items() if value}, doseq=True)

    def narrow(self, offset_ranges: Mapping[int, range]) -> dict[int, range]:
        """The part of the topic that has the dead letters."""
        if self.cause is not None:
            return dict(offset_ranges)
        offsets: dict[int, list[int]] = {}
        for partition, offset in self.letters:
            if offset in offset_ranges.get(partition, range(0)):
                offsets.setdefault(partition, []).append(offset)
        return {partition: range(min(some), max(some) + 1) for partition, some in offsets.items()}
