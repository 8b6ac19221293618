"""The history of settlements: one line for each operation."""

from dataclasses import dataclass

from worker.core.model import DeadLetterPosition
from worker.dead_letters.settlement import Settlement

_MAX_OPERATIONS = 10_000
"""The latest that are kept; anybody can write to the topic."""


@dataclass
class Operation:
    """One call of a command that has settled or reopened dead letters.

    Attributes:
        entry: what its settlements have in common; `at` is that of the first one that the topic still has, and
            `outcome` is None if the operation was interrupted, or is still running.
        letters: to how many dead letters its settlements apply.
    """

    entry: Settlement
    letters: int = 0


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
            found = self._operations[settlement.operation] = Operation(settlement)
        entry = found.entry
        outcome = settlement.outcome if entry.outcome is None else entry.outcome
        found.entry = entry._replace(at=min(entry.at, settlement.at), outcome=outcome, runs=())
        found.letters += applied

    def latest(self, limit: int | None) -> list[Operation]:
        """The last operations, the earliest of them first; None for all."""
        operations = sorted(self._operations.values(), key=lambda each: each.entry.at)
        return operations if limit is None else operations[-limit:]
