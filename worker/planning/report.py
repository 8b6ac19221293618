"""A plan as text, with the arithmetic of each number, and as a JSON document."""

from collections.abc import Iterator, Sequence
from math import isfinite
from textwrap import wrap
from typing import NamedTuple

from worker.core.escaping import escape_control_characters
from worker.planning.arithmetic import (
    CORE_SHARE,
    DAY_SECONDS,
    HEADROOM,
    MAX_PARTS_PER_SECOND,
    MEASURED_SHARE,
    MIN_WORKERS,
    SPARE,
    Batches,
    Plan,
)
from worker.planning.inputs import Input, PlanInputs

_DAYS_PER_YEAR = 365
_MAX_SOURCE_CHARACTERS = 300
_MIN_WHY_CHARACTERS = 20
_BYTE_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_TIME_UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"))
_MAX_OF_UNIT = 2
"""A time is printed in the largest unit of which it has at least so many."""


class _Line(NamedTuple):
    name: str
    value: str
    why: str


def format_report(inputs: PlanInputs, plan: Plan, width: int) -> Iterator[str]:
    """The lines of the report, of `width` characters at most where that is not too narrow.

    First what was measured and read, then what is recommended.
    """
    sections: dict[str, Sequence[_Line]] = {
        "Measured": [*_measured(inputs)],
        "Read or assumed": [*_read(inputs)],
        "Plan": [*_recommended(inputs, plan)],
    }
    names = max(len(line.name) for lines in sections.values() for line in lines)
    values = max(len(line.value) for lines in sections.values() for line in lines)
    for title, lines in sections.items():
        yield title
        for name, value, why in lines:
            begin = f"  {name:<{names}}  {value:>{values}}  "
            left = max(width - len(begin), _MIN_WHY_CHARACTERS)
            first, *others = wrap(why, left) or [""]
            yield f"{begin}{first}".rstrip()
            yield from (f"{'':<{len(begin)}}{other}" for other in others)


def _measured(inputs: PlanInputs) -> Iterator[_Line]:
    measurement, costs = inputs.measurement, inputs.costs
    counts = measurement.counts
    yield _Line("sample", f"{counts.records:,}", f"events: {inputs.sample.source}")
    yield _Line(
        "CPU of an event",
        f"{costs.cpu_microseconds:,.1f} µs",
        f"{measurement.cpu_microseconds:,.1f} µs to decode, fan out and encode, median of {measurement.passes - 1} "
        f"passes / {MEASURED_SHARE:g} for what was not run: fetching, INSERTs, commits",
    )
    yield _Line("rows of an event", f"{costs.rows:,.1f}", f"{counts.skipped.total() / counts.records:,.1f} skipped")
    yield _Line("bytes of an event", f"{costs.record_bytes:,.0f}", "key, value and headers")
    encoded = counts.encoded_bytes / counts.rows if counts.rows else 0.0
    yield _Line("bytes of a row", f"{encoded:,.0f}", "as sent to ClickHouse")
    yield _Line(
        "INSERTs of a batch",
        f"{costs.inserts_per_batch:,.1f}",
        f"with {costs.parts_per_batch:,.1f} months, each a part",
    )


def _read(inputs: PlanInputs) -> Iterator[_Line]:
    for name, found in (
        ("events a second", inputs.events_per_second),
        ("partitions", inputs.partitions),
        ("lag", inputs.lag),
        ("deduplication window", inputs.window),
        ("bytes of a row on disk", inputs.bytes_per_row),
    ):
        value = "not known" if found.value is None else _format_number(found.value)
        yield _Line(name, value, escape_control_characters(found.source, _MAX_SOURCE_CHARACTERS))


def _recommended(inputs: PlanInputs, plan: Plan) -> Iterator[_Line]:
    costs, rate, batches = inputs.costs, inputs.events_per_second.value or 0.0, plan.batches
    yield _Line(
        "capacity of a worker",
        f"{plan.worker_capacity:,.0f}",
        f"events a second = {CORE_SHARE:g} of a core / {costs.cpu_microseconds:,.1f} µs",
    )
    yield _Line(
        "workers",
        f"{plan.workers:,}",
        f"{HEADROOM:g} * rate / capacity = {plan.needed_workers:,}, * {SPARE:g} so that one zone of three may fail = "
        f"{plan.wanted_workers:,}, at least {MIN_WORKERS}; at most one for each partition",
    )
    yield _Line("partitions", f"{plan.partitions:,}", "what the topic has, or two for each worker")
    yield _Line(
        "BATCH_LINGER_MS", f"{batches.linger_ms:,}", f"the shortest with {MAX_PARTS_PER_SECOND:g} parts a second"
    )
    yield _Line("BATCH_MAX_EVENTS", f"{batches.max_events:,}", f"{HEADROOM:g} * the events of that time in a worker")
    yield _Line("rows of an INSERT", f"{batches.rows_per_insert:,.0f}", "rows a second / INSERTs a second")
    yield _Line("INSERTs a second", _format_number(batches.inserts_per_second), f"of {plan.workers:,} workers")
    yield _Line(
        "new parts a second",
        _format_number(batches.parts_per_second),
        f"one ClickHouse merges about {MAX_PARTS_PER_SECOND:g}; "
        f"{_format_number(batches.catch_up_parts_per_second)} while a backlog is worked off",
    )
    yield _Line(
        "a token is remembered",
        _format_seconds(plan.window_seconds, infinite="always"),
        f"at the most parts a second; an INSERT is repeated for {_format_seconds(inputs.retry_seconds)} at most "
        "(RETRY_MAX_SECONDS + CLICKHOUSE_TIMEOUT_SECONDS)",
    )
    disk = plan.disk_bytes_per_day
    yield _Line(
        "disk a day",
        _format_bytes(disk),
        f"one copy: {DAY_SECONDS:,} s * {rate * costs.rows:,.0f} rows * {costs.disk_bytes_per_row:,.1f} bytes; "
        f"{_format_bytes(_DAYS_PER_YEAR * disk)} a year",
    )
    catch_up = plan.catch_up_seconds
    yield _Line(
        "the lag is worked off in",
        "not known" if catch_up is None else _format_seconds(catch_up, infinite="never"),
        f"lag / ({plan.workers:,} * {plan.worker_capacity:,.0f} - {rate:,.0f} events a second)",
    )


def describe_plan(inputs: PlanInputs, plan: Plan, warnings: Sequence[str]) -> dict[str, object]:
    """The document that `--json` prints. What is infinite or not known is null."""
    measured = inputs.measurement.counts._asdict() | {
        "sample": inputs.sample.source,
        "too_long": inputs.sample.too_long,
        "passes": inputs.measurement.passes,
        "measured_cpu_microseconds": inputs.measurement.cpu_microseconds,
    }
    read = {name: found._asdict() for name in PlanInputs._fields if isinstance(found := getattr(inputs, name), Input)}
    planned = {name: value._asdict() if isinstance(value, Batches) else value for name, value in plan._asdict().items()}
    finite = {
        name: None if isinstance(value, float) and not isfinite(value) else value for name, value in planned.items()
    }
    return {
        "measured": measured,
        "inputs": read,
        "costs": inputs.costs._asdict(),
        "retry_seconds": inputs.retry_seconds,
        "plan": finite,
        "warnings": list(warnings),
    }


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2g}"


def _format_bytes(size: float) -> str:
    for unit in _BYTE_UNITS[:-1]:
        if size < 1_000:
            return f"{size:,.3g} {unit}"
        size /= 1_000
    return f"{size:,.3g} {_BYTE_UNITS[-1]}"


def _format_seconds(seconds: float, infinite: str = "") -> str:
    if not isfinite(seconds):
        return infinite
    for size, unit in _TIME_UNITS:
        if seconds >= _MAX_OF_UNIT * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"
