"""Creates and alters the tables: runs `schemas/clickhouse/NNNN_*.sql` in the order of their numbers, each file once.

There is no lock. A file whose run was cut off is run again from its first statement, so every statement must do nothing
where it was done before. For the same reason several runs at once leave the same tables as one.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.migration_history import load_checksums, statements_to_record
from worker.clickhouse.retention import plan_retention
from worker.clickhouse.topology import Topology
from worker.core.errors import DependencyError, MigrationChanged, StoreError

_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


@dataclass(frozen=True)
class Migration:
    """One file of SQL; `{table}` in it is replaced by the table of the worker."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, which must not change once it was applied."""
        return sha256(self.text.encode()).hexdigest()

    def statements(self, topology: Topology) -> list[str]:
        """The statements for the servers of `topology`, one by one, as ClickHouse wants them."""
        written = (statement.strip().removesuffix(";") for statement in _COMMENT.sub("", self.text).split(";\n"))
        return [statement for text in written if text for statement in topology.statements(text)]


def load_migrations() -> list[Migration]:
    """Every migration of this program, in the order of their numbers."""
    folder = files("schemas") / "clickhouse"
    found = [Migration(file.name, file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.name)


class MigrationState(StrEnum):
    """The state of one migration in one database."""

    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed after it was applied"
    UNKNOWN = "applied, and not known to this version"


class _Step(NamedTuple):
    """Statements to run; for a migration they end with its record in the history."""

    name: str
    statements: Sequence[str]


class Migrations:
    """The migrations of the program for one server or cluster.

    Every method raises DependencyError where ClickHouse refuses or cannot be reached. Rows are kept `retention_days`:
    0 for ever, and None leaves the table as it is. `known` replaces the migrations of the program.
    """

    def __init__(
        self, target: ClickHouseTarget, retention_days: int | None = None, known: Sequence[Migration] | None = None
    ) -> None:
        self._target = target
        self._retention_days = retention_days
        self._known = load_migrations() if known is None else known

    def apply(self, on_progress: Callable[[str], None]) -> int:
        """Run every pending step, and call `on_progress` with a line for each. Returns their number.

        Raises MigrationChanged if a file was changed after it was applied; nothing is done.
        """
        done = 0
        with self._dependency_errors():
            for step in self._pending():
                if step.name in load_checksums(self._target):
                    continue  # another run has applied it meanwhile; running it later could undo a newer migration
                for statement in step.statements:
                    self._run(step, statement)
                on_progress(f"applied {step.name}")
                done += 1
        return done

    def plan(self) -> list[str]:
        """The statements that `apply` would run, in order."""
        with self._dependency_errors():
            return [statement for step in self._pending() for statement in step.statements]

    def status(self) -> dict[str, MigrationState]:
        """The state of every migration that is known or was applied, in the order of their numbers."""
        with self._dependency_errors():
            applied = load_checksums(self._target)
        known = {migration.name: migration for migration in self._known}
        return {name: _state(known.get(name), applied.get(name)) for name in sorted(known | applied)}

    def _pending(self) -> list[_Step]:
        steps = list(self._pending_migrations(load_checksums(self._target)))
        if statement := plan_retention(self._target, self._retention_days):
            kept = f"{self._retention_days} days" if self._retention_days else "for ever"
            steps.append(_Step(f"retention: rows are kept {kept}", [statement]))
        return steps

    def _pending_migrations(self, applied: Mapping[str, str]) -> Iterator[_Step]:
        for migration in self._known:
            match _state(migration, applied.get(migration.name)):
                case MigrationState.CHANGED:
                    raise MigrationChanged(
                        f"{migration.name} was changed after it was applied to "
                        f"{self._target.database}.{self._target.table}, which does not have the change.\n"
                        "Put the old text back (it is in the release that applied it), and write a new migration with "
                        "the next number."
                    )
                case MigrationState.PENDING:
                    record = statements_to_record(self._target, migration.name, migration.checksum)
                    yield _Step(migration.name, [*migration.statements(self._target.topology), *record])

    def _run(self, step: _Step, statement: str) -> None:
        try:
            run_statement(self._target, statement)
        except StoreError as error:
            error.args = (f"{error}\nin {step.name}:\n{statement}",)
            raise

    @contextmanager
    def _dependency_errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            raise DependencyError(f"ClickHouse {self._target.address}: {error.outcome.name}: {error}") from error


def _state(known: Migration | None, applied_checksum: str | None) -> MigrationState:
    if known is None:
        return MigrationState.UNKNOWN
    if applied_checksum is None:
        return MigrationState.PENDING
    return MigrationState.APPLIED if applied_checksum == known.checksum else MigrationState.CHANGED
