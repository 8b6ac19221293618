"""With PERSISTENCE_ENABLED=false: events are read, validated and counted, and nothing is written anywhere."""

from collections.abc import Sequence

from worker.block import Block
from worker.errors import Constraint
from worker.model import Failed


class Nowhere:
    """A `Store` and a `DeadLetters` that take everything and keep nothing."""

    async def insert(self, block: Block) -> None:
        """Take the rows."""

    async def probe(self, witness: Block | None = None) -> None:
        """Always ready."""

    async def violating(self, constraint: Constraint, block: Block) -> Sequence[int]:  # noqa: ARG002 - the port's signature
        """There is no constraint here."""
        return ()

    async def put(self, failed: Sequence[Failed]) -> Sequence[int]:  # noqa: ARG002 - the port's signature
        """Take the dead letters; none is too large."""
        return ()

    def close(self) -> None:
        """Nothing to close."""
