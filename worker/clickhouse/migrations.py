"""Bring the tables up to date: `schemas/clickhouse/NNNN_*.sql`, in order, each once, by one at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.ledger import Ledger
from worker.clickhouse.lock import MigrationLock
from worker.clickhouse.migration import Migration, known_migrations
from worker.clickhouse.retention import retention_statement
from worker.clickhouse.topology import Topology
from worker.core.errors import DependencyError, MigrationChanged, StoreError


class MigrationState(StrEnum):
    """What a migration is like here."""

    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed after it was applied"
    UNKNOWN = "applied, and not known to this version"


@dataclass(frozen=True)
class Migrations:
    """The migrations of the program, and one server or cluster that they are for.

    Every method raises DependencyError where the server refuses or cannot be reached.

    Args:
        cluster: its name in `remote_servers`; None for a server that stands alone.
        retention_days: how long rows are kept; 0 for ever; None leaves what the table says.
        known: the migrations; those of the program by default.
    """

    target: ClickHouseTarget
    cluster: str | None = None
    retention_days: int | None = None
    known: Sequence[Migration] | None = None

    def apply(self, told: Callable[[str], None]) -> int:
        """Do what is not done yet; how many steps that were. `told` hears of each.

        Raises:
            MigrationChanged: a file was changed after it was applied; nothing is done.
            MigrationLocked: somebody else is migrating.
        """
        with self._translated():
            if not self._steps():  # the ordinary case takes no lock and needs no grant but SELECT
                return 0
            lock = MigrationLock(self.target, self._topology)
            with lock.held():
                steps = self._steps()  # again: whoever held the lock before has done some
                for step in steps:
                    step.take(self.target, lock)
                    told(f"applied {step.name}")
            return len(steps)

    def plan(self) -> list[str]:
        """The statements that `apply` would run, but for those of its lock, in order."""
        with self._translated():
            return [statement for step in self._steps() for statement in step.statements_with_record]

    def status(self) -> dict[str, MigrationState]:
        """Every migration that is known or was applied, in the order of their numbers."""
        with self._translated():
            applied = self._ledger.applied()
        known = {migration.name: migration for migration in self._known}
        return {name: _state(known.get(name), applied.get(name)) for name in sorted(known | applied)}

    def _steps(self) -> list["_Step"]:
        return list(self._numbered(self._ledger.applied())) + list(self._retention())

    def _numbered(self, applied: Mapping[str, str]) -> Iterator["_Step"]:
        for migration in self._known:
            match _state(migration, applied.get(migration.name)):
                case MigrationState.CHANGED:
                    raise MigrationChanged(
                        f"{migration.name} was changed after it was applied to "
                        f"{self.target.database}.{self.target.table}, which does not have the change.\n"
                        "Put the old text back (it is in the release that applied it), and write a new migration with "
                        "the next number."
                    )
                case MigrationState.PENDING:
                    yield _Step(migration, migration.name, migration.statements(self._topology), self._ledger)

    def _retention(self) -> Iterator["_Step"]:
        statement = retention_statement(self.target, self._topology, self.retention_days)
        if statement:
            kept = f"{self.retention_days} days" if self.retention_days else "for ever"
            yield _Step(None, f"retention: rows are kept {kept}", [statement], self._ledger)

    @property
    def _known(self) -> Sequence[Migration]:
        return known_migrations() if self.known is None else self.known

    @property
    def _topology(self) -> Topology:
        return Topology(self.target.database, self.target.table, self.cluster)

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.target, self._topology)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            raise DependencyError(f"ClickHouse {self.target.host}:{self.target.port}: {error.name}: {error}") from error


@dataclass(frozen=True)
class _Step:
    """Statements to run, and what to write down when they ran."""

    migration: Migration | None
    name: str
    statements: Sequence[str]
    ledger: Ledger

    def take(self, target: ClickHouseTarget, lock: MigrationLock) -> None:
        for number, statement in enumerate(self.statements, start=1):
            lock.renew()
            try:
                run_statement(target, statement)
            except StoreError as error:
                error.args = (f"{error}\nin {self.name}, statement {number} of {len(self.statements)}:\n{statement}",)
                raise
        if self.migration:
            self.ledger.begin()
            self.ledger.record(self.migration)

    @property
    def statements_with_record(self) -> list[str]:
        if not self.migration:
            return list(self.statements)
        return [*self.statements, self.ledger.begin_statement, self.ledger.record_statement(self.migration)]


def migrate(target: ClickHouseTarget, told: Callable[[str], None], cluster: str | None = None) -> int:
    """Apply every migration that is not applied yet; see `Migrations.apply`."""
    return Migrations(target, cluster).apply(told)


def _state(known: Migration | None, applied: str | None) -> MigrationState:
    if known is None:
        return MigrationState.UNKNOWN
    if applied is None:
        return MigrationState.PENDING
    return MigrationState.APPLIED if applied == known.checksum else MigrationState.CHANGED
