"""The adapter to chDB: one engine in the process, one chDB connection per client.

A chDB connection has its own `USE`, `SET` and temporary tables, as a TCP connection to a ClickHouse server has. So each
client gets a chDB connection of its own. Measured with chDB 26.9: statements on one connection run one after the other
(four `sleep(1)` from four threads took 4.0 s), on four connections at once (1.0 s); a connection opens in 0.3 ms. A
process can open one data folder only.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import chdb

from deploy.local.engine import shard
from deploy.local.engine.errors import STD_EXCEPTION, SYNTAX_ERROR, ServerError
from deploy.local.engine.protocol import Stage
from deploy.local.engine.statement import Insert, identifier, may_be_several, quote, returns_rows, without_format

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from deploy.local.engine.protocol import Setting

_ERROR = re.compile(r"Code: (\d+)\. DB::\w*Exception: (.*?)(?: \([A-Z][A-Z0-9_]+\))?\s*", re.DOTALL)
# Pretty names of Tuple types run over several lines.
EXPLAIN = "EXPLAIN PLAN json = 1, optimize = 0, header = 1, actions = 1 {}"
PART_SETTINGS = {
    # A block with states cannot be split here, so a shard's part of an aggregation must be one block.
    "max_block_size": str(1 << 20),
    # The plan must aggregate what the query names: these replace count() by a number, and columns by their subcolumns.
    "optimize_trivial_count_query": "0",
    "optimize_functions_to_subcolumns": "0",
}
DESCRIBE = "DESCRIBE TABLE {} SETTINGS print_pretty_type_names = 0"


class Answer(NamedTuple):
    """The result of a statement in the Native format, and the rows and bytes that the engine has read for it."""

    data: bytes
    rows_read: int
    bytes_read: int


class Part(NamedTuple):
    """The answer to the part of a query for one shard, its columns with their types, and the number of its rows."""

    answer: Answer
    columns: list[tuple[str, str]]
    rows: int


class Engine:
    """The engine over one data folder; open for as long as the process serves.

    Args:
        data: the folder.
        config: a configuration file of the server, for what no statement can set, such as clusters.
    """

    def __init__(self, data: Path, config: Path | None = None) -> None:
        self._path = f"{data}?config-file={config}" if config else str(data)
        # The engine runs while a connection to it is open, so this one stays open longer than those of clients.
        self._root = EngineSession(self._path, frozenset())
        version, self.timezone, self.display_name = self._root.row("SELECT version(), serverTimezone(), displayName()")
        major, minor, patch, *_ = version.split(".")
        self.version = int(major), int(minor), int(patch)
        self._setting_names = frozenset(name for (name, *_) in self._root.rows("SELECT name FROM system.settings"))

    def session(self) -> EngineSession:
        """Open the session of one client."""
        return EngineSession(self._path, self._setting_names)

    def close(self) -> None:
        """Stop the engine; all sessions must be closed."""
        self._root.close()


class EngineSession:
    """One chDB connection, used by one thread at a time. Every method raises ServerError with ClickHouse's code."""

    def __init__(self, path: str, setting_names: frozenset[str]) -> None:
        self._connection = chdb.connect(path)
        self._setting_names = setting_names

    def close(self) -> None:
        """End the session and drop its temporary tables."""
        self._connection.close()

    def execute(self, text: str, settings: Sequence[Setting] = ()) -> Answer:
        """Run any statement with the settings of its query."""
        if may_be_several(text):
            self._canonical(text)  # raises if they are: a server refuses several statements, chDB would run all
        with self._applied(self._accepted(settings)):
            result = self._result(without_format(text))
            return Answer(bytes(result.bytes()), result.storage_rows_read(), result.storage_bytes_read())

    def execute_part(self, text: str, stage: Stage, settings: Sequence[Setting]) -> Part:
        """Run the part of another server's query for this shard, up to `stage`.

        Raises:
            ServerError: NOT_IMPLEMENTED for a query that `shard` cannot rewrite, and for too many states.
        """
        with self._applied({**self._accepted(settings), **PART_SETTINGS}):
            plan = self._plan(text)
            aggregation = plan.aggregation()
            if stage is not Stage.WITH_MERGEABLE_STATE or aggregation is None:
                rewritten = shard.with_names_of_plan(text, plan)
            else:
                inner, rewritten = shard.with_states(text, aggregation)
                shard.check_states(aggregation, self._plan(inner).aggregation())
            result = self._result(rewritten)
            answer = Answer(bytes(result.bytes()), result.storage_rows_read(), result.storage_bytes_read())
            return Part(answer, self.result_columns(rewritten), result.rows_read())

    def _plan(self, text: str) -> shard.Plan:
        explained = self._query(EXPLAIN.format(text), "TabSeparatedRaw")
        return shard.Plan(json.loads(explained)[0]["Plan"])

    def result_columns(self, text: str) -> list[tuple[str, str]]:
        """The names and exact types of the columns of a SELECT; empty for other statements."""
        if not returns_rows(text):
            return []
        return [(name, type_name) for name, type_name, *_ in self.rows(DESCRIBE.format(f"({without_format(text)})"))]

    def use(self, database: str) -> None:
        """Make `database` the one of unqualified names."""
        self._query(f"USE {identifier(database)}")

    def parse_insert(self, text: str) -> Insert:
        """Parse an INSERT whose data follows."""
        return Insert.parse(self._canonical(text))

    def insert_columns(self, insert: Insert) -> list[tuple[str, str]]:
        """The names and types of the columns that the INSERT expects, in its order: the sample block."""
        described = {name: (type_name, kind) for name, type_name, kind, *_ in self.rows(DESCRIBE.format(insert.table))}
        if not insert.columns:
            return [(name, type_name) for name, (type_name, kind) in described.items() if kind in ("", "DEFAULT")]
        if any(name not in described for name in insert.column_names):
            self._query(insert.from_file("/dev/null", ""))  # raises the error of the engine
        return [(name, described[name][0]) for name in insert.column_names]

    def insert(self, insert: Insert, path: str, settings: Sequence[Setting]) -> None:
        """Insert the blocks in the file `path`.

        Not by chDB's `send_insert`, whose `finish()` reports success for rows that a constraint has refused.
        """
        clause = ", ".join(f"{name} = {quote(value)}" for name, value in self._accepted(settings).items())
        self._query(insert.from_file(path, clause))

    def replication_delays(self, tables: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int | None]:
        """The delay in seconds of each existing one of `tables` (database, table); None where it is not replicated."""
        wanted = ", ".join(f"({quote(database)}, {quote(table)})" for database, table in tables)
        if not wanted:
            return {}
        found = self.rows(
            "SELECT database, name, engine LIKE 'Replicated%', absolute_delay FROM system.tables "  # noqa: S608 - quoted
            "LEFT JOIN (SELECT database, table AS name, absolute_delay FROM system.replicas) AS replica "
            f"USING (database, name) WHERE (database, name) IN ({wanted})"
        )
        return {
            (database, name): int(delay) if replicated == "1" else None for database, name, replicated, delay in found
        }

    @contextmanager
    def external_tables(self, paths: Mapping[str, str]) -> Iterator[None]:
        """Create temporary tables for one query, from files of `Native` blocks by name, as TCPHandler::processData."""
        made: list[str] = []
        try:
            for name, path in paths.items():
                source = f"SELECT * FROM file({quote(path)}, 'Native')"  # noqa: S608 - quoted
                self._query(f"CREATE TEMPORARY TABLE {identifier(name)} ENGINE = Memory AS {source}")
                made.append(name)
            yield
        finally:
            for name in made:
                self._query(f"DROP TEMPORARY TABLE {identifier(name)}")

    def rows(self, text: str) -> list[list[str]]:
        """The rows of a small result, with values as text."""
        lines = self._query(text, output_format="JSONCompactEachRow").splitlines()
        return [[str(value) for value in json.loads(line)] for line in lines]

    def row(self, text: str) -> list[str]:
        """The only row of a result."""
        (row,) = self.rows(text)
        return row

    def _accepted(self, settings: Sequence[Setting]) -> dict[str, str]:
        """The settings without unknown ones that are not important (BaseSettings::read in src/Core/BaseSettings.h)."""
        return {
            setting.name: setting.value
            for setting in settings
            if setting.important or setting.name in self._setting_names
        }

    @contextmanager
    def _applied(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Apply the settings to one statement, on top of what the client has SET for its session."""
        if not settings:
            yield
            return
        names = ", ".join(map(quote, settings))
        before = self.rows(f"SELECT name, changed, value FROM system.settings WHERE name IN ({names})")  # noqa: S608 - quoted
        # A server also sends settings that SET cannot change, such as run_query_in_background, with their defaults.
        same = {name for name, _, value in before if settings[name] == value}
        changes = ", ".join(f"{name} = {quote(value)}" for name, value in settings.items() if name not in same)
        if not changes:
            yield
            return
        self._query(f"SET {changes}")
        try:
            yield
        finally:
            earlier = (
                f"{name} = {quote(value) if changed == '1' else 'DEFAULT'}"
                for name, changed, value in before
                if name not in same
            )
            self._query("SET " + ", ".join(earlier))

    def _canonical(self, text: str) -> str:
        # Query parameters are in the format `Escaped`.
        escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
        formatted = self._query("SELECT formatQuerySingleLine({text:String})", "TabSeparatedRaw", {"text": escaped})
        return formatted.decode()

    def _query(self, text: str, output_format: str = "Native", params: Mapping[str, str] | None = None) -> bytes:
        return bytes(self._result(text, output_format, params).bytes())

    def _result(self, text: str, output_format: str = "Native", params: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - chDB has no types
        if not text.strip():
            raise ServerError(SYNTAX_ERROR, "Syntax error: Empty query")
        try:
            return self._connection.query(text, output_format, params=params)
        except RuntimeError as error:
            raise _server_error(str(error)) from error


def _server_error(message: str) -> ServerError:
    """Parse chDB's `Code: 469. DB::Exception: text (NAME)` into what a server sends in an exception packet."""
    match = _ERROR.fullmatch(message)
    return ServerError(int(match[1]), match[2]) if match else ServerError(STD_EXCEPTION, message)
