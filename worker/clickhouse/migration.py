"""One migration: a file of SQL under `schemas/clickhouse/`, and the statements that it stands for on this server."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from worker.clickhouse.topology import Topology

_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


@dataclass(frozen=True)
class Migration:
    """One file of SQL; `{table}` in it stands for the table of the worker."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, which must not change once it was applied."""
        return sha256(self.text.encode()).hexdigest()

    def statements(self, topology: Topology) -> list[str]:
        """Each statement by itself, for ClickHouse takes one at a time; safe to run again after a part of them ran."""
        return [made for written in self._written() for made in topology.statements(written)]

    def _written(self) -> Iterator[str]:
        for statement in _COMMENT.sub("", self.text).split(";\n"):
            if statement.strip():
                yield statement.strip().removesuffix(";")


def known_migrations() -> list[Migration]:
    """Every migration of this program, in the order of their numbers."""
    folder = files("schemas") / "clickhouse"
    found = [Migration(file.name, file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.name)
