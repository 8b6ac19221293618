"""Parses what the server must know of a query before the engine runs it, such as whether data of an INSERT follows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploy.local.engine.errors import NOT_IMPLEMENTED, ServerError

_COMMENTS = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_DATA_FOLLOWS = re.compile(_COMMENTS + r"INSERT\b.*\b(?:VALUES|FORMAT\s+\w+)\s*;?\s*", re.DOTALL | re.IGNORECASE)
_RETURNS_ROWS = re.compile(_COMMENTS + r"\(*\s*(?:SELECT|WITH)\b", re.DOTALL | re.IGNORECASE)
_FORMAT_CLAUSE = re.compile(r"\bFORMAT\s+\w+\s*;?\s*\Z", re.IGNORECASE)
_MORE_AFTER_SEMICOLON = re.compile(r";\s*\S")

_IDENTIFIER = r"(?:\w+|`(?:[^`\\]|\\.)*`)"
_COMPOUND = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*"
# The output of formatQuerySingleLine: one line, without comments, quoted only where it is necessary.
_INSERT = re.compile(
    rf"INSERT INTO (?P<table>{_COMPOUND})(?: \((?P<columns>{_COMPOUND}(?:, {_COMPOUND})*)\))?"
    r"(?: SETTINGS (?P<settings>.+))? FORMAT \w+",
    re.DOTALL,
)
_ONE_COMPOUND = re.compile(_COMPOUND)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Insert:
    """An INSERT whose rows come in Data packets; table, columns and settings are SQL text."""

    table: str
    columns: tuple[str, ...]
    settings: str

    @property
    def column_names(self) -> tuple[str, ...]:
        """The listed columns without quotes."""
        return tuple(_ESCAPE.sub(r"\1", column.replace("`", "")) for column in self.columns)

    @classmethod
    def parse(cls, canonical: str) -> Insert:
        """Parse the output of `formatQuerySingleLine`.

        Raises:
            ServerError: NOT_IMPLEMENTED for INSERT INTO FUNCTION and for column expressions.
        """
        match = _INSERT.fullmatch(canonical.strip())
        if match is None:
            raise ServerError(NOT_IMPLEMENTED, f"The local engine server cannot take data for: {canonical.strip()}")
        columns = tuple(found[0] for found in _ONE_COMPOUND.finditer(match["columns"] or ""))
        return cls(match["table"], columns, match["settings"] or "")

    def from_file(self, path: str, settings: str) -> str:
        """The INSERT that reads `path`; the settings of the statement itself override `settings`."""
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        clauses = ", ".join(filter(None, (settings, self.settings)))
        clause = f" SETTINGS {clauses}" if clauses else ""
        return f"INSERT INTO {self.table}{columns} FROM INFILE {quote(path)}{clause} FORMAT Native"


def data_follows(text: str) -> bool:
    """Whether the text is an INSERT that ends where its data begins."""
    return _DATA_FOLLOWS.fullmatch(text) is not None


def returns_rows(text: str) -> bool:
    """Whether the query is a SELECT, so that DESCRIBE returns its columns."""
    return _RETURNS_ROWS.match(text) is not None


def may_be_several(text: str) -> bool:
    """Whether text follows a semicolon, which may be inside a string."""
    return _MORE_AFTER_SEMICOLON.search(text) is not None


def without_format(text: str) -> str:
    """The query without FORMAT: over this protocol the client formats."""
    return _FORMAT_CLAUSE.sub("", text).rstrip().removesuffix(";")


def quote(value: str) -> str:
    """A string literal of `value`."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """A quoted name of a database or table."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"
