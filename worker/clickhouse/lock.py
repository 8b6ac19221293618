"""One migration at a time.

ClickHouse has no locks, but CREATE TABLE without IF NOT EXISTS succeeds for one of two who try at once; on a cluster
too, whose servers run the statements of one queue in one order. So the lock is a table, `TABLE_migrations_lock_N`;
its comment says who holds it and until when:

1. Whoever finds one whose time is not over leaves.
2. Else he creates number N + 1, one above what he found. Of two who found the same, the second is told that it exists.
3. He looks again. Another live lock, made by someone who had found something else, makes him drop his own and leave.
   Both may do so, but never neither, because whoever created later sees both.
4. Only then he drops those whose time is over, which their holders notice: before every statement the holder moves his
   own time on, and where his table is gone he stops.

A holder who crashed, or who lost the connection and so does not know whether his last statement still runs, leaves his
lock behind; `LEASE_SECONDS` after his last statement began it is void, and the next migration takes over. The times are
those of the server's clock.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from uuid import uuid4

from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.topology import Topology
from worker.core.errors import MigrationLocked, StoreError
from worker.core.outcome import OutcomeKind

LEASE_SECONDS = 600

_TABLE_ALREADY_EXISTS = 57
_UNKNOWN_TABLE = 60


class Held(NamedTuple):
    """A lock that was found."""

    number: int
    id: str
    owner: str
    until: str
    live: bool


class MigrationLock:
    """The lock on the tables of `topology`. Methods raise StoreError as the server or the connection failed.

    Args:
        owner: who says he holds it; host and process by default.
    """

    def __init__(
        self,
        target: ClickHouseTarget,
        topology: Topology,
        owner: str = "",
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        self._target = target
        self._on_cluster = topology.on_cluster
        self._prefix = f"{topology.table}_migrations_lock_"
        self._owner = owner or f"process {os.getpid()} on {socket.gethostname()}"
        self._lease_seconds = lease_seconds
        self._id = uuid4().hex  # numbers begin again when no lock is left, so they do not tell whose it is
        self._number = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock inside the `with`.

        Raises:
            MigrationLocked: somebody else holds it.
        """
        self.acquire()
        try:
            yield
        except BaseException as error:
            # Without an answer the last statement may still run: the lock stays until its time is over.
            if not (isinstance(error, StoreError) and error.kind is OutcomeKind.UNAVAILABLE):
                self.release()
            raise
        self.release()

    def acquire(self) -> None:
        """Take the lock, over from one whose time is over too.

        Raises:
            MigrationLocked: somebody else holds it.
        """
        found = self.found()
        self._leave_to(found)
        self._number = max((lock.number for lock in found), default=0) + 1
        try:
            self._run(
                f"CREATE TABLE {self._name}{self._on_cluster} (nothing UInt8) "
                f"ENGINE = MergeTree ORDER BY tuple() COMMENT {self._comment()}"
            )
        except StoreError as error:
            if error.code != _TABLE_ALREADY_EXISTS:
                raise
            self._leave_to(self.found())
            raise MigrationLocked("another migration came first; run `migrate` again") from error
        others = [lock for lock in self.found() if lock.number != self._number]
        try:
            self._leave_to(others)
        except MigrationLocked:
            self.release()
            raise
        for lock in others:
            self._run(f"DROP TABLE IF EXISTS {self._prefix}{lock.number}{self._on_cluster} SYNC")

    def renew(self) -> None:
        """Move the time on; before every statement.

        Raises:
            MigrationLocked: the time was over, and somebody else has taken over.
        """
        lost = MigrationLocked(
            f"this migration took longer than {self._lease_seconds} s for one statement, and another has taken over"
        )
        if not self._is_ours():
            raise lost
        try:
            self._run(f"ALTER TABLE {self._name}{self._on_cluster} MODIFY COMMENT {self._comment()}")
        except StoreError as error:
            if error.code != _UNKNOWN_TABLE:
                raise
            raise lost from error

    def release(self) -> None:
        """Give it up, if it is still ours."""
        if self._is_ours():
            self._run(f"DROP TABLE IF EXISTS {self._name}{self._on_cluster} SYNC")

    def _is_ours(self) -> bool:
        return any((lock.number, lock.id) == (self._number, self._id) for lock in self.found())

    def found(self) -> list[Held]:
        """Every lock that is there, the void ones too."""
        rows = run_statement(
            self._target,
            "SELECT name, comment, toUnixTimestamp(now()) FROM system.tables "
            "WHERE database = currentDatabase() AND match(name, %(lock)s) ORDER BY name",
            {"lock": f"^{self._prefix}[0-9]+$"},
        )
        return [self._read(name, comment, now) for name, comment, now in rows]

    def _read(self, name: str, comment: str, now: int) -> Held:
        number = int(name.removeprefix(self._prefix))
        try:
            said = json.loads(comment)
        except ValueError:  # not written by us: nobody can say that its time is over
            return Held(number, "", "somebody", "its table is dropped", live=True)
        return Held(number, said["id"], said["owner"], said["until"], said["expires"] > now)

    def _leave_to(self, locks: list[Held]) -> None:
        for lock in locks:
            if lock.live:
                table = f"{self._prefix}{lock.number}"
                raise MigrationLocked(
                    f"{lock.owner} is migrating, and holds the lock until {lock.until} by the server's clock, longer "
                    f"while it goes on.\nIf that process is gone, run `migrate` after that time, or at once after\n"
                    f"DROP TABLE {table}{self._on_cluster} SYNC"
                )

    @property
    def _name(self) -> str:
        return f"{self._prefix}{self._number}"

    def _comment(self) -> str:
        """What this lock says of itself from now on, as a literal."""
        ((expires, until),) = run_statement(
            self._target,
            f"SELECT toUnixTimestamp(now() + {self._lease_seconds} AS t), formatDateTime(t, '%F %T UTC', 'UTC')",
        )
        said = json.dumps({"id": self._id, "owner": self._owner, "until": until, "expires": expires})
        return "'" + said.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def _run(self, statement: str) -> None:
        run_statement(self._target, statement)
