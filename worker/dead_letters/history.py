"""The history of settlements: one line for each operation."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.core.model import DeadLetterPosition
from worker.dead_letters.settlement import Action, Settlement

_MAX_OPERATIONS = 10_000
"""The latest that are kept; anybody can write to the topic."""


@dataclass
class Operation:
    """One call of a command that has settled or reopened dead letters.

    Attributes:
        at: milliseconds since 1970, of its first settlement that the topic still has.
        letters: to how many dead letters its settlements apply.
        outcome: None if it was interrupted, or is still running.
    """

    action: Action
    operation: str
    by: str
    at: int
    why: str | None
    command: str
    letters: int = 0
    outcome: Mapping[str, int] | None = None


class History:
    """Collects the operations of a topic."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}

    def add(self, _: DeadLetterPosition, settlement: Settlement, applied: int) -> None:
        """Add a settlement that applies to so many dead letters."""
        found = self._operations.get(settlement.operation)
        if found is None:
            if len(self._operations) >= _MAX_OPERATIONS:
                del self._operations[next(iter(self._operations))]
            found = self._operations[settlement.operation] = Operation(*settlement[:6])
        found.at = min(found.at, settlement.at)
        found.letters += applied
        found.outcome = settlement.outcome if found.outcome is None else found.outcome

    def latest(self, limit: int | None) -> list[Operation]:
        """The last operations, the earliest of them first; None for all."""
        operations = sorted(self._operations.values(), key=lambda each: each.at)
        return operations if limit is None else operations[-limit:]
