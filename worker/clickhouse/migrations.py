"""Bring the tables up to date: `schemas/clickhouse/NNNN_*.sql`, in order, each once."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from worker.clickhouse.store import ClickHouseTarget, run_statement
from worker.errors import DependencyError, StoreError

_LEDGER = """
CREATE TABLE IF NOT EXISTS {table}_migrations
(
    name       String,
    checksum   String COMMENT 'SHA-256 of the file as it was applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree ORDER BY name
"""
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


@dataclass(frozen=True)
class Migration:
    """One file of SQL; `{table}` in it stands for the table of the target."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, which must not change once it was applied."""
        return sha256(self.text.encode()).hexdigest()

    def statements(self, table: str) -> Iterator[str]:
        """Each statement by itself: ClickHouse takes one at a time."""
        for statement in _COMMENT.sub("", self.text).replace("{table}", table).split(";\n"):
            if statement.strip():
                yield statement.strip()


def migrations() -> list[Migration]:
    """Every migration, in the order of their numbers."""
    folder = files("schemas") / "clickhouse"
    found = [Migration(file.name, file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.name)


def migrate(target: ClickHouseTarget, told: Callable[[str], None]) -> int:
    """Apply what is not applied yet; how many that were. `told` hears of each.

    Raises:
        DependencyError: the server refuses, cannot be reached, or a file was changed after it was applied.
    """
    try:
        run_statement(target, _LEDGER.format(table=target.table))
        # The name of the table is an identifier: Settings sees to that.
        ledger = f"SELECT name, checksum FROM {target.table}_migrations"  # noqa: S608 # nosec B608
        applied = dict(run_statement(target, ledger))
        return sum(_apply(target, migration, told) for migration in _pending(migrations(), applied))
    except StoreError as error:
        raise DependencyError(f"ClickHouse {target.host}:{target.port}: {error.name}: {error}") from error


def _pending(known: Sequence[Migration], applied: dict[str, str]) -> Iterator[Migration]:
    for migration in known:
        if migration.name not in applied:
            yield migration
        elif applied[migration.name] != migration.checksum:
            raise DependencyError(
                f"{migration.name} was changed after it was applied; put the old text back and write a new migration"
            )


def _apply(target: ClickHouseTarget, migration: Migration, told: Callable[[str], None]) -> int:
    for statement in migration.statements(target.table):
        run_statement(target, statement)
    run_statement(
        target,
        f"INSERT INTO {target.table}_migrations (name, checksum) VALUES",
        [(migration.name, migration.checksum)],
    )
    told(f"applied {migration.name}")
    return 1
