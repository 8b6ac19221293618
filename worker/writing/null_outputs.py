"""The outputs of a worker that writes nothing, `PERSISTENCE_ENABLED=false`: events are read, decoded and counted.

It commits no offsets either, so that a worker of the same group that writes loses nothing.
"""

from collections.abc import Sequence

from worker.core.model import Failed
from worker.core.outcome import WRITTEN, Constraint, Outcome
from worker.events.block import Block
from worker.ports import ACKNOWLEDGED, DeadLetterOutcome, DeadLetterSink, Store

NOTICE = (
    "PERSISTENCE_ENABLED is false: events are read and counted; no rows, dead letters or offsets are written, so that "
    "a worker that writes reads the same events again"
)
"""What an operator must know of such a worker."""


class NullStore(Store):
    """Accepts every block and discards it."""

    async def insert(self, block: Block) -> Outcome:  # noqa: ARG002 - the port's signature
        """Discard the rows."""
        return WRITTEN

    async def probe(self) -> Outcome:
        """Report that inserts are accepted."""
        return WRITTEN

    async def find_violating_rows(self, constraint: Constraint, block: Block) -> Sequence[int]:  # noqa: ARG002 - the port's signature
        """Find none: there is no constraint."""
        return ()


class NullDeadLetterSink(DeadLetterSink):
    """Discards every dead letter."""

    async def write(self, failed: Sequence[Failed]) -> Sequence[DeadLetterOutcome]:
        """Discard the dead letters."""
        return [ACKNOWLEDGED] * len(failed)
