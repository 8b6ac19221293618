"""The outputs for PERSISTENCE_ENABLED=false: events are read, validated and counted; nothing is written."""

from collections.abc import Sequence

from worker.core.model import Failed
from worker.core.outcome import WRITTEN, Constraint, Outcome
from worker.events.block import Block


class NullStore:
    """A `Store` that accepts every block and discards it."""

    async def insert(self, block: Block) -> Outcome:  # noqa: ARG002 - the port's signature
        """Discard the rows."""
        return WRITTEN

    async def probe(self) -> Outcome:
        """Report that inserts are accepted."""
        return WRITTEN

    async def find_violations(self, constraint: Constraint, block: Block) -> Sequence[int]:  # noqa: ARG002 - the port's signature
        """Find none: there is no constraint."""
        return ()


class NullDeadLetterSink:
    """A `DeadLetterSink` that discards every dead letter."""

    async def write(self, failed: Sequence[Failed]) -> Sequence[int]:  # noqa: ARG002 - the port's signature
        """Discard the dead letters; none is too large."""
        return ()
