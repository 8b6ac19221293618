"""The outcome of one INSERT. Each kind has one consequence, which `worker.writing.writer` carries out."""

from enum import StrEnum
from typing import NamedTuple


class OutcomeKind(StrEnum):
    """What an outcome says about the rows, and what follows from it."""

    WRITTEN = "written"
    """The rows are acknowledged."""
    REFUSED = "refused"
    """Some of the rows are invalid: bisect until each is the only row of its INSERT; it becomes a dead letter."""
    TOO_LARGE = "too_large"
    """The rows, or their months, are too many at once: insert halves. A block of at most 1,000 rows of one month counts
    as unclassified. Not `ErrorClass.TOO_LARGE`, which is a dead letter that does not fit its topic."""
    UNAVAILABLE = "unavailable"
    """Nothing is known of the rows: insert the same block again, with the same token; never bisect."""
    MISCONFIGURED = "misconfigured"
    """Inserts like this one fail until an operator changes something: hold at once, dead-letter nothing."""
    UNCLASSIFIED = "unclassified"
    """The error can come from the server or from a row: as unavailable, unless other rows are written in between."""


class Constraint(NamedTuple):
    """A constraint of a table that has refused a block.

    Attributes:
        table: the table that has it, as ClickHouse names it: `database.table`.
        expression: the condition for each row, as ClickHouse writes it.
        message: for a row that violates it.
    """

    table: str
    expression: str
    message: str


class Outcome(NamedTuple):
    """The outcome of one INSERT.

    Attributes:
        name, message: of ClickHouse's error or the client's exception; empty when written.
        code: ClickHouse's number of the error; None if the error is not ClickHouse's.
        constraint: the constraint that the message names; None if no query can evaluate it.
        row: position in the block, from 0, of a row that violates `constraint`; None if it is not known.
    """

    kind: OutcomeKind
    name: str = ""
    message: str = ""
    code: int | None = None
    constraint: Constraint | None = None
    row: int | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.name else self.kind.value


WRITTEN = Outcome(OutcomeKind.WRITTEN)
