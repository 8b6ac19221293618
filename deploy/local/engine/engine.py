"""The adapter to chDB: one engine in the process, one chDB connection per client.

Measured with chDB 26.9: statements on one chDB connection run one after the other (four `sleep(1)` from four threads
took 4.0 s), statements on four connections run at once (1.0 s), and a connection opens in 0.3 ms. Each connection
keeps its own `USE`, `SET` and temporary tables. That is what one TCP connection is to a ClickHouse server, so every
client gets a chDB connection of its own. A process can open one data folder only.
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
    """What a statement gave, in the Native format, and what the engine read of its tables for it."""

    data: bytes
    rows_read: int
    bytes_read: int


class Part(NamedTuple):
    """The answer to a shard's part of a query, names and types of its columns, and how many rows it has."""

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
        # The engine lives while a connection to it is open, so this one outlives every client's.
        self._root = EngineSession(self._path, frozenset())
        version, self.timezone, self.display_name = self._root.row("SELECT version(), serverTimezone(), displayName()")
        major, minor, patch, *_ = version.split(".")
        self.version = int(major), int(minor), int(patch)
        self._setting_names = frozenset(name for (name, *_) in self._root.rows("SELECT name FROM system.settings"))

    def session(self) -> EngineSession:
        """What one client works with."""
        return EngineSession(self._path, self._setting_names)

    def close(self) -> None:
        """Shut the engine down, when all sessions are closed."""
        self._root.close()


class EngineSession:
    """One chDB connection, used by one thread at a time. Every method raises ServerError with ClickHouse's code."""

    def __init__(self, path: str, setting_names: frozenset[str]) -> None:
        self._connection = chdb.connect(path)
        self._setting_names = setting_names

    def close(self) -> None:
        """End the session; its temporary tables go."""
        self._connection.close()

    def execute(self, text: str, settings: Sequence[Setting] = ()) -> Answer:
        """Run any statement under a query's settings."""
        if may_be_several(text):
            self._canonical(text)  # raises if they are: the server refuses them, chDB would run all
        with self._applied(self._accepted(settings)):
            result = self._result(without_format(text))
            return Answer(bytes(result.bytes()), result.storage_rows_read(), result.storage_bytes_read())

    def execute_part(self, text: str, stage: Stage, settings: Sequence[Setting]) -> Part:
        """Run a query that another server shares with this shard, as far as `stage`.

        Raises:
            ServerError: NOT_IMPLEMENTED for a query that `shard` cannot rewrite, and for too many states.
        """
        with self._applied({**self._accepted(settings), **PART_SETTINGS}):
            plan = self._plan(text)
            aggregation = plan.aggregation()
            if stage is not Stage.WITH_MERGEABLE_STATE or aggregation is None:
                rewritten = shard.named_as_in_plan(text, plan)
            else:
                inner, rewritten = shard.states(text, aggregation)
                shard.check(aggregation, self._plan(inner).aggregation())
            result = self._result(rewritten)
            answer = Answer(bytes(result.bytes()), result.storage_rows_read(), result.storage_bytes_read())
            return Part(answer, self.result_columns(rewritten), result.rows_read())

    def _plan(self, text: str) -> shard.Plan:
        explained = self._query(EXPLAIN.format(text), "TabSeparatedRaw")
        return shard.Plan(json.loads(explained)[0]["Plan"])

    def result_columns(self, text: str) -> list[tuple[str, str]]:
        """Names and exact types of a SELECT's columns; empty for other statements."""
        if not returns_rows(text):
            return []
        return [(name, type_name) for name, type_name, *_ in self.rows(DESCRIBE.format(f"({without_format(text)})"))]

    def use(self, database: str) -> None:
        """Make it the database of unqualified names."""
        self._query(f"USE {identifier(database)}")

    def parse_insert(self, text: str) -> Insert:
        """Take an INSERT apart that waits for its data."""
        return Insert.parse(self._canonical(text))

    def insert_columns(self, insert: Insert) -> list[tuple[str, str]]:
        """Names and types of the columns whose data the INSERT expects, in its order: the sample block."""
        described = {name: (type_name, kind) for name, type_name, kind, *_ in self.rows(DESCRIBE.format(insert.table))}
        if not insert.columns:
            return [(name, type_name) for name, (type_name, kind) in described.items() if kind in ("", "DEFAULT")]
        if any(name not in described for name in insert.column_names):
            self._query(insert.from_file("/dev/null", ""))  # the engine words its refusal better than we could
        return [(name, described[name][0]) for name in insert.column_names]

    def insert(self, insert: Insert, path: str, settings: Sequence[Setting]) -> None:
        """Insert the blocks in the file `path`.

        Never through chDB's `send_insert`: its `finish()` reports success for rows that a constraint has refused.
        """
        clause = ", ".join(f"{name} = {quote(value)}" for name, value in self._accepted(settings).items())
        self._query(insert.from_file(path, clause))

    def replication_delays(self, tables: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int | None]:
        """The delay in seconds of each of `tables` (database, table) that exists; None where it is not replicated."""
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
        """Temporary tables for one query, from files of `Native` blocks by name: TCPHandler::processData does so."""
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
        """A small result as text, one list per row."""
        lines = self._query(text, output_format="JSONCompactEachRow").splitlines()
        return [[str(value) for value in json.loads(line)] for line in lines]

    def row(self, text: str) -> list[str]:
        """The only row of a result."""
        (row,) = self.rows(text)
        return row

    def _accepted(self, settings: Sequence[Setting]) -> dict[str, str]:
        """Without the unknown ones that are not important (BaseSettings::read in src/Core/BaseSettings.h)."""
        return {
            setting.name: setting.value
            for setting in settings
            if setting.important or setting.name in self._setting_names
        }

    @contextmanager
    def _applied(self, settings: Mapping[str, str]) -> Iterator[None]:
        """The settings hold for one statement, on top of what the client has SET for its session."""
        if not settings:
            yield
            return
        names = ", ".join(map(quote, settings))
        before = self.rows(f"SELECT name, changed, value FROM system.settings WHERE name IN ({names})")  # noqa: S608 - quoted
        # A server also sends settings that no SET may change, such as run_query_in_background, with their own values.
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
        # Query parameters are read as ClickHouse's `Escaped` format has them.
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
    """ChDB's `Code: 469. DB::Exception: text (NAME)` as what the server puts into an exception packet."""
    match = _ERROR.fullmatch(message)
    return ServerError(int(match[1]), match[2]) if match else ServerError(STD_EXCEPTION, message)
