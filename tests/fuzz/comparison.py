"""The books of one record: what is owed against what is there. Pure functions; nothing here asks the worker."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.dead_letter_comparison import find_faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.local.demo.reference import Reading
    from tests.fuzz.dead_letters import FoundDeadLetter
    from tests.fuzz.expected import ExpectedResult


class Row(NamedTuple):
    """A row of the table; times in milliseconds."""

    metric: str
    value: float
    execution_id: str
    agent: str
    user: str | None
    completed_at: int
    recorded_at: int


class Verdict(NamedTuple):
    """What does not agree, in words, and rows that are not there, though a later event may have replaced them."""

    problems: list[str]
    absent: list[Row]


def compare(expected: ExpectedResult, rows: Sequence[Row], letters: Sequence[FoundDeadLetter]) -> Verdict:
    """Compare one record with everything that names it as its source."""
    problems = [*_compare_letters(expected, letters)]
    absent = [*_compare_rows(expected.reading, rows, problems)]
    return Verdict(problems, absent)


def _compare_rows(reading: Reading | None, rows: Sequence[Row], problems: list[str]) -> Iterator[Row]:
    due = {row.metric: row for row in _rows(reading)}
    for metric, count in Counter(row.metric for row in rows).items():
        if count > 1:
            problems.append(f"{count} rows {metric[:60]!r}")
    for row in rows:
        right = due.pop(row.metric, None)
        if right is None:
            problems.append(f"a row {row.metric[:60]!r} that was not owed, or twice: {row}"[:500])
        elif row != right:
            problems.append(f"a row that differs: {row}; owed was {right}"[:1_000])
    yield from due.values()


def _rows(reading: Reading | None) -> Iterator[Row]:
    if reading is None or reading.owner is None:
        return
    execution_id, agent, _ = reading.owner
    for metric, value in reading.rows.items():
        yield Row(metric, value, execution_id, agent, reading.user, reading.completed_at, reading.recorded_at)


def _compare_letters(expected: ExpectedResult, letters: Sequence[FoundDeadLetter]) -> Iterator[str]:
    reading = expected.reading
    due: dict[str | None, tuple[str, str]] = {}
    if reading is not None:
        due = {None: ("invalid_event", "")} if reading.owner is None else dict(reading.refused.items())
    for letter in letters:
        # The header of a pointer has no more than the beginning of a long name, and no lone surrogate.
        metric = _pointed(letter.metric, due) if letter.error_class == "too_large" else letter.metric
        right = due.pop(metric, None)
        if right is None:
            yield f"a dead letter of {_named(metric)}, {letter.error_class}, that was not owed, or twice"
        else:
            yield from (
                f"the dead letter of {_named(metric)}: {fault}" for fault in find_faults(expected, letter, *right)
            )
    for metric, (error_class, _) in due.items():
        yield f"no dead letter of {_named(metric)}, {error_class}"


def _named(metric: str | None) -> str:
    return "the event" if metric is None else ascii(metric[:60])


def _pointed(metric: str | None, due: dict[str | None, tuple[str, str]]) -> str | None:
    if metric is None or metric in due:
        return metric
    shown = [name for name in due if name is not None and metric in (_header(name[:256]), _header(name)[:256])]
    return shown[0] if shown else metric


def _header(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
