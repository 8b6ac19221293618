"""The errors that the worker raises, and what follows from each.

WorkerError
├── SettingsError            a variable is missing or wrong: the program does not start (exit 2)
├── DependencyError          Kafka or ClickHouse cannot be reached, or lacks a topic, table or right (exit 3)
├── MigrationChanged         a migration file has changed since it was applied (exit 2)
├── InvalidEvent             a record is not a valid event: it is dead-lettered as a whole
├── InvalidDeadLetter        the value of a dead letter cannot be parsed: it stays open (`worker.dead_letters.value`)
├── EditFailed               an expression makes no event of another: it stays open (`worker.replay.event_editor`)
├── InvalidExpression        an expression is none (exit 2)
├── SourceRecordMissing      a replay needs a source record that is gone: it stays open (`worker.replay.contents`)
├── RefusedAgain             a dead letter would be refused again: it stays open (`worker.replay.contents`)
└── StoreError               a statement failed in ClickHouse or in the connection: see its `outcome`
"""

from enum import StrEnum

from worker.core.outcome import Outcome


class ErrorClass(StrEnum):
    """The `dlq.error.class` of a dead letter. Each class is for an operator to handle in its own way.

    CONTRIBUTING.md, "Add an error class", lists the places that a new class needs.
    """

    INVALID_EVENT = "invalid_event"
    INVALID_METRIC = "invalid_metric"
    ROW_REFUSED = "row_refused"
    STORE_UNAVAILABLE = "store_unavailable"
    TOO_LARGE = "too_large"

    __hash__ = str.__hash__  # that of an Enum is a Python function, and each dead letter is counted by its class


class WorkerError(Exception):
    """Base of the errors that this program raises on purpose."""


class SettingsError(WorkerError):
    """One line for each wrong variable: its name, its value (never a secret) and what would be right."""


class DependencyError(WorkerError):
    """Kafka or ClickHouse cannot be reached, or lacks what the worker needs."""


class MigrationChanged(WorkerError):
    """A migration file has changed since it was applied, so that the state of the tables is unknown."""


class InvalidEvent(WorkerError):
    """A record is not a valid event; `reason` is a short, stable name of the broken rule, such as `InvalidJSON`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StoreError(WorkerError):
    """A statement failed in ClickHouse or in the connection to it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome
