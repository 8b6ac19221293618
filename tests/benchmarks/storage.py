"""Layouts of the table compared: bytes per row by column, rows and time of every query of the cookbook, and INSERTs.

Time is CPU of the engine, so that other work on the machine does not count; ratios are to the first layout. The rows
are of the days that the cookbook asks for, 110,000 a day: ten million in 90 days.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import click
from clickhouse_driver import Client

from deploy.cookbook import recipes
from deploy.local.engine_process import EngineProcess
from tests.benchmarks.environment import Figures
from tests.benchmarks.storage_layouts import LAYOUTS
from tests.support.rows import insert_rows, metric_names
from tests.support.tables import refresh_roll_up
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import Migrations

_DAYS, _ROWS_PER_DAY = 90, 110_000
_LAST_DAY = 78
"""Of the rows, where 90 days are too many: most queries name the days before it."""
_BLOCK_ROWS = 50_000
_MEASURED_BLOCKS = 4
_REPEATS = 3


class _Shape(NamedTuple):
    """Metrics an event, the kind of `execution_id`, and rows a day."""

    metrics: int
    ids: Literal["uuid", "run"] = "uuid"
    per_day: int = _ROWS_PER_DAY

    def __str__(self) -> str:
        return f"{self.metrics} metrics an event, {self.per_day:,} rows a day, ids as {self.ids}"


def compare_layouts(rows: int, metrics: Sequence[int], like: str) -> dict[str, list[Figures]]:
    """Tables of several shapes of rows, among them each number of `metrics`; `like` selects layouts by name."""
    tables: dict[str, list[Figures]] = {}
    few = metrics[0]
    for shape in (*map(_Shape, metrics), _Shape(few, "run"), _Shape(few, per_day=10 * _ROWS_PER_DAY)):
        with _engine() as (engine, cpu_seconds):
            comparison = _Comparison(engine, cpu_seconds, shape, rows, like)
            for title, lines in comparison.tables().items():
                tables[f"{title}: {shape}"] = lines
    return tables


@contextmanager
def _engine() -> Iterator[tuple[EngineProcess, Callable[[], float]]]:
    """An engine, and a clock of the CPU seconds of its process."""
    with tempfile.TemporaryDirectory(prefix="execution-metrics-bench-") as folder:
        engine = EngineProcess(Path(folder))
        engine.start()
        watchdog = engine.process.pid
        child = int(Path(f"/proc/{watchdog}/task/{watchdog}/children").read_text("ascii").split()[0])
        clock = ~child << 3 | 2  # clock_getcpuclockid(3)
        try:
            yield engine, lambda: time.clock_gettime(clock)
        finally:
            engine.stop()


class _Comparison:
    """Every layout, each in a database of its own with the views."""

    def __init__(
        self, engine: EngineProcess, cpu_seconds: Callable[[], float], shape: _Shape, rows: int, like: str
    ) -> None:
        self._engine = engine
        self._cpu_seconds = cpu_seconds
        self._shape = shape
        self._of = _DAYS * shape.per_day
        self._rows = min(rows, self._of)
        self._first = max(0, _LAST_DAY * shape.per_day - self._rows)
        first, *others = LAYOUTS
        self._names = [first, *(name for name in others if like in name)]

    def tables(self) -> dict[str, list[Figures]]:
        """Bytes and INSERTs by layout; rows read, and CPU, by query."""
        sizes = [self._fill(name) for name in self._names]
        for line in reversed(sizes):
            line["insert"] = round(float(line["insert"]) / float(sizes[0]["insert"]), 2)
        rows: list[Figures] = []
        cpu: list[Figures] = []
        for query, recipe in recipes().items():
            if recipe.most_rows is not None:
                read, seconds = zip(*(self._measure(name, recipe.text) for name in self._names), strict=True)
                rows.append({"query": query, **dict(zip(self._names, read, strict=True))})
                ratios = (round(value / seconds[0], 2) for value in seconds)
                milliseconds = round(seconds[0] * 1000, 1)
                cpu.append({"query": query, **dict(zip(self._names, ratios, strict=True)), "ms": milliseconds})
        return {"bytes per row, INSERT as ratio": sizes, "rows read": rows, "CPU as ratio": cpu}

    @contextmanager
    def _client(self, name: str) -> Iterator[Client]:
        with self._engine.client(f"layout_{self._names.index(name)}", send_receive_timeout=600) as client:
            yield client

    def _fill(self, name: str) -> Figures:
        click.echo(f"{name}: {self._rows:,} rows", err=True)
        database, layout = f"layout_{self._names.index(name)}", LAYOUTS[name]
        with self._engine.client() as client:
            client.execute(f"CREATE DATABASE {database}")
        target = ClickHouseTarget(self._engine.host, self._engine.port, database)
        Migrations(target, known=layout.migrations() if layout else None).apply(lambda _: None)
        with self._client(name) as client:
            started = self._cpu_seconds()
            for block in range(_MEASURED_BLOCKS):
                self._insert(client, block * _BLOCK_ROWS, _BLOCK_ROWS)
            insert = self._cpu_seconds() - started
            self._insert(client, _MEASURED_BLOCKS * _BLOCK_ROWS, self._rows - _MEASURED_BLOCKS * _BLOCK_ROWS)
            for table in _tables(client):
                client.execute(f"OPTIMIZE TABLE {table} FINAL")
            refresh_roll_up(client)
            client.execute(recipes()["dead_letters_table"].text)
            return {"layout": name, "insert": insert, **self._sizes(client)}

    def _insert(self, client: Client, first: int, count: int) -> None:
        if count > 0:
            names = metric_names(self._shape.metrics)
            first += self._first
            insert_rows(client, count, first=first, of=self._of, metrics=names, ids=self._shape.ids)

    def _sizes(self, client: Client) -> Figures:
        columns = client.execute(
            "SELECT name, sum(data_compressed_bytes) FROM system.columns WHERE database = currentDatabase() "
            "AND table IN %(tables)s AND default_kind != 'ALIAS' GROUP BY name ORDER BY min(position)",
            {"tables": _tables(client)},
        )
        ((total, index),) = client.execute(
            "SELECT sum(bytes_on_disk), sum(secondary_indices_compressed_bytes) FROM system.parts "
            "WHERE database = currentDatabase() AND table IN %(tables)s AND active",
            {"tables": _tables(client)},
        )
        stored = {"total": total, **dict(columns), "index": index}
        return {name: round(size / self._rows, 2) for name, size in stored.items()}

    def _measure(self, name: str, text: str) -> tuple[int, float]:
        """Rows that the query reads, and the least CPU seconds of a few runs."""
        with self._client(name) as client:
            ((some,),) = client.execute("SELECT max(execution_id) FROM execution_metrics WHERE metric_type = 'retries'")
            seconds = []
            for _ in range(_REPEATS):
                started = self._cpu_seconds()
                client.execute(text.replace("{execution_id}", some))
                seconds.append(self._cpu_seconds() - started)
                read = client.last_query.progress.rows
        return read, min(seconds)


def _tables(client: Client) -> list[str]:
    """The table of the rows, and its companion if there is one."""
    found = client.execute("SHOW TABLES WHERE name IN ('execution_metrics', 'execution_metrics_companion')")
    return [name for (name,) in found]
