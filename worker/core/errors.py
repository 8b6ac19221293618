"""What can go wrong, as one tree.

WorkerError
├── SettingsError            a variable is missing or wrong; the program does not start (exit 2)
├── DependencyError          Kafka or ClickHouse cannot be reached or is not prepared (exit 3)
├── MigrationChanged         a migration is not the one that was applied (exit 2)
├── MigrationLocked          somebody else is migrating (exit 1)
├── InvalidEvent             a record cannot be read as an event: dead-lettered whole
├── DeadLetterUnavailable    the dead-letter topic did not acknowledge: hold, commit nothing
└── StoreError               ClickHouse, or the way to it, failed a statement; see its `outcome`
"""

from collections.abc import Sequence
from enum import StrEnum

from worker.core.outcome import Outcome, OutcomeKind


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


class StoreError(WorkerError):
    """A statement that ClickHouse, or the way to it, has failed.

    Attributes:
        outcome: what is known of the failure.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome

    @property
    def kind(self) -> OutcomeKind:
        """Its class."""
        return self.outcome.kind

    @property
    def name(self) -> str:
        """ClickHouse's name of the error, or the name of the client's exception."""
        return self.outcome.name

    @property
    def code(self) -> int | None:
        """ClickHouse's number of the error; None where it is not ClickHouse's own."""
        return self.outcome.code
