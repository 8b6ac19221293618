"""What can go wrong, as one tree.

WorkerError
├── SettingsError            a variable is missing or wrong; the program does not start (exit 2)
├── DependencyError          Kafka or ClickHouse cannot be reached or is not prepared (exit 3)
├── MigrationChanged         a migration is not the one that was applied (exit 2)
├── MigrationLocked          somebody else is migrating (exit 1)
├── InvalidEvent             a record cannot be read as an event: dead-lettered whole
├── DeadLetterUnavailable    the dead-letter topic did not acknowledge: hold, commit nothing
└── StoreError               ClickHouse, or the way to it, refused an insert
    ├── RowRefused           the data is at fault: split until the guilty rows stand alone
    ├── StoreUnavailable     an outage: retry within a budget, then hold
    ├── StoreMisconfigured   the metric is innocent: hold at once, dead-letter nothing
    └── UnknownStoreError    a code without a class: row-refused if other rows pass, else unavailable
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class ErrorClass(StrEnum):
    """The `dlq.error.class` of a dead letter: what a person would do about it."""

    INVALID_EVENT = "invalid_event"
    INVALID_METRIC = "invalid_metric"
    ROW_REFUSED = "row_refused"
    STORE_UNAVAILABLE = "store_unavailable"
    TOO_LARGE = "too_large"


class WorkerError(Exception):
    """Base of every error that this program raises on purpose."""


class SettingsError(WorkerError):
    """One line for each wrong variable: its name, its value (never a secret) and what would be right."""


class DependencyError(WorkerError):
    """Kafka or ClickHouse cannot be reached, or lacks what the worker needs."""


class MigrationChanged(WorkerError):
    """A file of SQL is not what it was when it was applied, so that nobody can say what the table is."""


class MigrationLocked(WorkerError):
    """Somebody else is migrating the same tables; the message says who, and what to do if he is not."""


class InvalidEvent(WorkerError):
    """A record that cannot be read as an event.

    Attributes:
        reason: a short, stable name of the rule that was broken, such as `InvalidJSON`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DeadLetterUnavailable(WorkerError):
    """The dead-letter topic did not acknowledge in time.

    Attributes:
        unacknowledged: positions, in what was put, of what must be put again.
        pointers: positions of what is acknowledged as a pointer, because it is too large.
    """

    def __init__(self, message: str, unacknowledged: Sequence[int], pointers: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.unacknowledged = unacknowledged
        self.pointers = pointers


class Constraint(NamedTuple):
    """A constraint of a table that has refused a block.

    Attributes:
        table: whose constraint it is, as the store names it.
        expression: what each row must fulfil, as the store words it.
        violated: what is to be said of any row that does not.
    """

    table: str
    expression: str
    violated: str


class StoreError(WorkerError):
    """An insert that was not acknowledged.

    Attributes:
        code: ClickHouse's number of the error, or None where the error is not ClickHouse's own.
        name: ClickHouse's name of the error, or the name of the exception of the client.
        row: position in the block, from 0, of a row that the message names; a hint, to be verified.
        constraint: that the message names.
    """

    def __init__(
        self,
        message: str,
        *,
        name: str,
        code: int | None = None,
        row: int | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.code = code
        self.row = row
        self.constraint = constraint


class RowRefused(StoreError):
    """The data is at fault."""


class StoreUnavailable(StoreError):
    """The store is away, overloaded, or silent; whether the rows are in may be unknown."""


class StoreMisconfigured(StoreError):
    """A table, a column, a grant or a password is wrong; no row is."""


class UnknownStoreError(StoreError):
    """A code that the table of codes does not know."""
