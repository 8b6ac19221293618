"""The test oracle for one record: its expected result against its rows and dead letters. Pure functions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import Reading, read_event
from tests.fuzz.dead_letter_comparison import find_faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.local.demo.expectations import RecordPosition
    from tests.fuzz.dead_letters import FoundDeadLetter
    from tests.fuzz.fuzz_record import FuzzRecord


class ExpectedResult(NamedTuple):
    """What the contract says of a record; `reading` is None for a tombstone."""

    record: FuzzRecord
    position: RecordPosition
    reading: Reading | None


class Row(NamedTuple):
    """A row of the table; times in milliseconds."""

    metric: str
    value: float
    execution_id: str
    agent: str
    user: str | None
    completed_at: int
    recorded_at: int


def expect_result(record: FuzzRecord, position: RecordPosition) -> ExpectedResult:
    """Read a record with the independent reference."""
    if record.unreadable:
        return ExpectedResult(record, position, Reading())
    value = record.value
    reading = None if value is None else read_event(value, record.headers, record.timestamp)
    return ExpectedResult(record, position, reading)


def compare(
    expected: ExpectedResult, rows: Sequence[Row], letters: Sequence[FoundDeadLetter]
) -> tuple[list[str], list[Row]]:
    """Compare one record with everything that names it as its source.

    Returns descriptions of the differences, and the missing rows, which a later event may have replaced.
    """
    problems = [*_compare_dead_letters(expected, letters)]
    missing = _compare_rows(expected.reading, rows, problems)
    return problems, missing


def _compare_rows(reading: Reading | None, rows: Sequence[Row], problems: list[str]) -> list[Row]:
    remaining = {row.metric: row for row in _expected_rows(reading)}
    counts = Counter(row.metric for row in rows)
    problems += [f"{count} rows {metric[:60]!r}" for metric, count in counts.items() if count > 1]
    for row in rows:
        right = remaining.pop(row.metric, None)
        if right is None:
            problems.append(f"a row {row.metric[:60]!r} that was not expected, or twice: {row}"[:500])
        elif row != right:
            problems.append(f"a row that differs: {row}; expected {right}"[:1_000])
    return list(remaining.values())


def _expected_rows(reading: Reading | None) -> Iterator[Row]:
    if reading is None or reading.owner is None:
        return
    execution_id, agent, _ = reading.owner
    for metric, value in reading.rows.items():
        yield Row(metric, value, execution_id, agent, reading.user, reading.completed_at, reading.recorded_at)


def _compare_dead_letters(expected: ExpectedResult, letters: Sequence[FoundDeadLetter]) -> Iterator[str]:
    reading = expected.reading
    remaining: dict[str | None, tuple[str, str]] = {}
    if reading is not None:
        remaining = {None: ("invalid_event", "")} if reading.owner is None else dict(reading.refused.items())
    for letter in letters:
        metric = _full_name(letter.metric, remaining) if letter.error_class == "too_large" else letter.metric
        right = remaining.pop(metric, None)
        if right is None:
            yield f"a dead letter of {_describe(metric)}, {letter.error_class}, that was not expected, or twice"
        else:
            for fault in find_faults(expected, letter, *right):
                yield f"the dead letter of {_describe(metric)}: {fault}"
    for metric, (error_class, _) in remaining.items():
        yield f"no dead letter of {_describe(metric)}, {error_class}"


def _describe(metric: str | None) -> str:
    return "the event" if metric is None else ascii(metric[:60])


def _full_name(metric: str | None, names: dict[str | None, tuple[str, str]]) -> str | None:
    """The name of which a pointer's header has 256 characters at most, with lone surrogates escaped."""
    if metric is None or metric in names:
        return metric
    matching = [name for name in names if name and metric in (_escape(name[:256]), _escape(name)[:256])]
    return matching[0] if matching else metric


def _escape(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
