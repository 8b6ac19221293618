"""With PERSISTENCE_ENABLED=false: events are read, validated and counted, and nothing is written anywhere."""

from collections.abc import Sequence

from worker.core.model import Failed
from worker.core.outcome import WRITTEN, Constraint, Outcome
from worker.events.block import Block


class Nowhere:
    """A `Store` and a `DeadLetterSink` that take everything and keep nothing."""

    async def insert(self, block: Block) -> Outcome:  # noqa: ARG002 - the port's signature
        """Accept the rows."""
        return WRITTEN

    async def probe(self) -> Outcome:
        """Always ready."""
        return WRITTEN

    async def find_violations(self, constraint: Constraint, block: Block) -> Sequence[int]:  # noqa: ARG002 - the port's signature
        """There is no constraint here."""
        return ()

    async def put(self, failed: Sequence[Failed]) -> Sequence[int]:  # noqa: ARG002 - the port's signature
        """Take the dead letters; none is too large."""
        return ()

    def close(self) -> None:
        """Nothing to close."""
