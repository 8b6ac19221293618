"""The table of scale in deploy/SCALE.md, with the arithmetic of `metrics-worker plan`.

`python -m deploy.scale_table deploy/SCALE.md` writes it there.
"""

import sys
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import NamedTuple

from deploy.markers import replace_between
from worker.batch_reader import BatchPolicy
from worker.core.retry import RetryPolicy
from worker.planning.arithmetic import (
    CORE_SHARE,
    HEADROOM,
    MAX_PARTS_PER_SECOND,
    MIN_WORKERS,
    PARTITIONS_PER_WORKER,
    SPARE,
    EventCosts,
    Load,
    Plan,
    RetryProtection,
    make_plan,
)
from worker.planning.inputs import ASSUMED_BYTES_PER_ROW, ASSUMED_WINDOW
from worker.settings.fields import Settings

BEGIN = "<!-- scale:begin -->"
END = "<!-- scale:end -->"

# What the page says of the event; the CPU is that of the worker in tests/benchmarks/README.md.
COSTS = EventCosts(
    cpu_microseconds=14.0,
    rows=10.0,
    record_bytes=500.0,
    block_bytes=1_200.0,
    disk_bytes_per_row=ASSUMED_BYTES_PER_ROW,
)
_PROTECTION = RetryProtection(
    ASSUMED_WINDOW,
    None,
    RetryPolicy.max_seconds + float(Settings.model_fields["clickhouse_timeout_seconds"].default),
)
_LEAST_BYTES_PER_ROW = 9.0
"""With the order agent, day, execution, metric: schemas/clickhouse/README.md."""
_ENGINE_ROWS_PER_SECOND = 600_000
"""That were measured into one engine."""


class _Column(NamedTuple):
    """A load of `cells` topics, each with a ClickHouse and `rate` events a second; `plan` is that of one of them."""

    title: str
    rate: int
    cells: int
    plan: Plan


def _column(title: str, rate: int, cells: int = 1) -> _Column:
    return _Column(title, rate, cells, make_plan(COSTS, Load(rate), BatchPolicy(), _PROTECTION))


def render_table() -> str:
    """The event that the table is for, and the table, as Markdown without a line break at the end."""
    columns = [_column("10⁴", 10_000), _column("10⁵", 100_000), _column("10⁶: ten cells of 10⁵", 100_000, cells=10)]
    event = (
        f"The event: {COSTS.cpu_microseconds:g} µs of CPU, {COSTS.rows:g} rows, {COSTS.record_bytes:,.0f} bytes, "
        f"{COSTS.block_bytes:,.0f} bytes of memory in an INSERT, {COSTS.disk_bytes_per_row:g} bytes a row on disk."
    )
    lines = [
        event,
        "",
        f"| events per second | {' | '.join(column.title for column in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [f"| {name} | {' | '.join(map(cell, columns))} |" for name, cell in _ROWS.items()]
    return "\n".join(lines)


def replace_table(document: str) -> str:
    """Put the table between the two markers in `document`; raises ValueError if it lacks them."""
    return replace_between(document, BEGIN, END, render_table())


def _total(number: Callable[[_Column], float]) -> Callable[[_Column], str]:
    """A cell with the number of all cells, and that of each."""

    def format_cell(column: _Column) -> str:
        each = number(column)
        return f"{each:,.3g}" if column.cells == 1 else f"{column.cells * each:,.3g}; {each:,.3g} in each"

    return format_cell


def _disk(bytes_per_row: float) -> Callable[[_Column], str]:
    def format_cell(column: _Column) -> str:
        size = column.cells * column.plan.disk_bytes_per_day * bytes_per_row / COSTS.disk_bytes_per_row
        return f"{size / 1e12:,.2g} TB"

    return format_cell


_ROWS: dict[str, Callable[[_Column], str]] = {
    "rows per second": lambda column: f"{column.cells * column.rate * COSTS.rows:,.0f}",
    f"CPU of all workers, {COSTS.cpu_microseconds:g} µs an event": lambda column: (
        f"{column.cells * column.rate * COSTS.cpu_microseconds / 1e6:,.2g} cores"
    ),
    f"workers for {HEADROOM:g} times as many events, {CORE_SHARE:g} of a core each": _total(
        lambda column: column.plan.needed_workers
    ),
    f"{SPARE:g} times as many workers, so that one zone of three may fail, at least {MIN_WORKERS}": _total(
        lambda column: column.plan.wanted_workers
    ),
    f"partitions, {PARTITIONS_PER_WORKER} per worker for even shares": _total(lambda column: column.plan.partitions),
    f"read from Kafka, at {COSTS.record_bytes:g} bytes per event": lambda column: (
        f"{column.cells * column.rate * COSTS.record_bytes / 1e6:,.0f} MB/s"
    ),
    f"disk per day, one copy, {COSTS.disk_bytes_per_row:g} bytes a row": _disk(COSTS.disk_bytes_per_row),
    f"the same, {_LEAST_BYTES_PER_ROW:g} bytes a row": _disk(_LEAST_BYTES_PER_ROW),
    "`BATCH_LINGER_MS`, `BATCH_MAX_EVENTS`": lambda column: (
        f"{column.plan.batches.linger_ms}, {column.plan.batches.max_events}"
    ),
    f"INSERTs per second into one ClickHouse, of at most {MAX_PARTS_PER_SECOND:g}": lambda column: (
        f"{column.plan.batches.inserts_per_second:,.2g}"
    ),
    "rows per INSERT": lambda column: f"{column.plan.batches.rows_per_insert:,.0f}",
    f"duration of {ASSUMED_WINDOW:,} INSERTs, the deduplication window, while a backlog is worked off": lambda column: (
        f"{column.plan.window_seconds / 60:,.0f} min"
    ),
    f"shards of ClickHouse, for {HEADROOM:g} times as many rows, {_ENGINE_ROWS_PER_SECOND:,} a second each": _total(
        lambda column: ceil(HEADROOM * column.rate * COSTS.rows / _ENGINE_ROWS_PER_SECOND)
    ),
}


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(replace_table(path.read_text(encoding="utf-8")), encoding="utf-8")
