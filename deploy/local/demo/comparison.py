"""The test oracle: compare the expected rows and dead letters with those that were found. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.expectations import RecordPosition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.local.demo.expectations import ExpectedDeadLetter, ExpectedRows

RowKey = tuple[str, str, int]
"""Execution, agent and day (since 1970)."""
LetterKey = tuple[RecordPosition, str | None]
"""Source record and metric; None for a whole event."""
IsRequired = Callable[[RecordPosition], bool]
"""Whether the rows and dead letters of this record must be there; otherwise they may be there."""
OUTAGE = "store_unavailable"
_MOST_EXAMPLES = 5


class FoundDeadLetter(NamedTuple):
    """A dead letter of the topic; `content` as in `ExpectedDeadLetter`."""

    position: RecordPosition
    metric: str | None
    error_class: str
    error_type: str
    code: str | None
    message: str
    content: str


class _Candidate(NamedTuple):
    """A value that a row may have."""

    version: int
    value: float
    required: bool
    dead_lettered: bool


class _ExpectedRow(NamedTuple):
    """The values that a row may have, whether it must be there, and whether all its records became dead letters."""

    values: tuple[float, ...]
    required: bool
    dead_lettered: bool


def _always(_: RecordPosition) -> bool:
    return True


@dataclass
class Differences:
    """The differences between expected and found results.

    Attributes:
        repeats_allowed: whether work may be repeated, because it was interrupted before it was committed.
        lost: expected and not found.
        duplicates: found more than once.
        wrong: found with another value or class, or not expected at all.
        repeats: number of allowed repetitions: "rows" of the table (not of its view), "letters" (the same dead letter
            again) and "both" (a row, and a dead letter of an outage as well).
        examples: descriptions of the first few differences.
    """

    repeats_allowed: bool = False
    lost: int = 0
    duplicates: int = 0
    wrong: int = 0
    repeats: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, count: int, example: str) -> None:
        """Count `count` more of one kind."""
        if count > 0:
            setattr(self, kind, getattr(self, kind) + count)
            if len(self.examples) < _MOST_EXAMPLES:
                self.examples.append(f"{kind}: {example}")

    def add_repeats(self, what: str, count: int, example: str) -> None:
        """Count `count` repetitions: as duplicates, unless repeats are allowed."""
        if not self.repeats_allowed:
            self.add("duplicates", count, example)
        elif count > 0:
            self.repeats[what] += count

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicates or self.wrong)


def compare_dead_letters(
    expected: Mapping[LetterKey, ExpectedDeadLetter],
    found: Iterable[FoundDeadLetter],
    differences: Differences,
    is_required: IsRequired = _always,
) -> dict[LetterKey, FoundDeadLetter]:
    """Compare dead letters. Returns the unexpected ones, among which may be rows that failed in an outage."""
    counts: Counter[LetterKey] = Counter()
    unexpected: dict[LetterKey, FoundDeadLetter] = {}
    for letter in found:
        key = letter.position, letter.metric
        counts[key] += 1
        if key not in expected:
            unexpected[key] = letter
        elif counts[key] == 1 and not _matches(letter, expected[key]):
            example = f"{_describe(key)} is {letter.error_class} of {letter.content[:40]}; expected {expected[key]}"
            differences.add("wrong", 1, example)
    for key, count in counts.items():
        differences.add_repeats("letters", count - 1, f"{count} times {_describe(key)}")
    for key, missing in expected.items():
        differences.add("lost", key not in counts and is_required(key[0]), f"{_describe(key)}, {missing.error_class}")
    return unexpected


def _describe(key: LetterKey) -> str:
    position, metric = key
    of = "" if metric is None else f"{metric!r} of "
    return f"the dead letter of {of}record {position.partition}/{position.offset}"


def _matches(letter: FoundDeadLetter, expected: ExpectedDeadLetter) -> bool:
    if letter.metric is None:
        # An event too large for the dead-letter topic has a pointer, with the digest of the same bytes.
        return letter.error_class in (expected.error_class, "too_large") and letter.content == expected.content
    # A row that ClickHouse would refuse may be in flight when an outage begins.
    refused = expected.error_class == "row_refused"
    classes = (expected.error_class, OUTAGE) if refused else (expected.error_class,)
    return letter.error_class in classes and _is_same_number(letter.content, expected.content)


def _is_same_number(one: str, other: str) -> bool:
    """Whether two texts are the same number, or the same of `true` and `false`."""
    if one == other or "true" in (one, other) or "false" in (one, other):
        return one == other
    return float(one) == float(other)


def compare_rows(
    sent: Iterable[ExpectedRows],
    found: Mapping[RowKey, Sequence[tuple[str, float]]],
    unexpected: dict[LetterKey, FoundDeadLetter],
    differences: Differences,
    is_required: IsRequired = _always,
) -> int:
    """Compare the rows of the de-duplicated view. Returns how many were replaced by a later event.

    A row that became a dead letter because of an outage is not lost; its dead letter is removed from `unexpected`.
    """
    expected, replaced = _resolve(sent, unexpected, differences, is_required)
    for key, metrics in expected.items():
        rows = found.get(key, ())
        values = dict(rows)
        agree = all(row.required and values.get(metric) in row.values for metric, row in metrics.items())
        if not (agree and len(values) == len(rows) == len(metrics)):
            _add_row_differences(key, metrics, rows, differences)
    for key in found.keys() - expected.keys():
        differences.add("wrong", len(found[key]), f"rows of {key} were not expected")
    return replaced


def _add_row_differences(
    key: RowKey, expected: Mapping[str, _ExpectedRow], rows: Sequence[tuple[str, float]], differences: Differences
) -> None:
    found: dict[str, list[float]] = {}
    for metric, value in rows:
        found.setdefault(metric, []).append(value)
    for metric, right in expected.items():
        values = found.pop(metric, [])
        row = f"{metric} of execution {key[0]}"
        differences.add("lost", right.required and not values, f"the row {row}")
        differences.add("duplicates", len(values) - 1, f"{len(values)} rows {row}")
        example = f"the row {row}, which is a dead letter too"
        differences.add_repeats("both", bool(values) and right.dead_lettered, example)
        is_wrong = bool(values) and values[0] not in right.values
        differences.add("wrong", is_wrong, f"the row {row} is {values}; expected {right.values}")
    for metric, values in found.items():
        differences.add("wrong", len(values), f"the row {metric} of execution {key[0]} was not expected")


def _resolve(
    sent: Iterable[ExpectedRows],
    unexpected: dict[LetterKey, FoundDeadLetter],
    differences: Differences,
    is_required: IsRequired,
) -> tuple[dict[RowKey, dict[str, _ExpectedRow]], int]:
    """The rows that remain when later events have replaced earlier ones, and how many were replaced."""
    all_candidates: dict[RowKey, dict[str, list[_Candidate]]] = {}
    for owner, position, version, rows in sent:
        metrics = all_candidates.setdefault(owner, {})
        required = is_required(position)
        for metric, value in rows.items():
            letter = unexpected.pop((position, metric), None) if unexpected else None
            if letter is not None and letter.error_class != OUTAGE:
                example = f"{_describe((position, metric))}, {letter.error_class}, in place of a row"
                differences.add("wrong", 1, example)
            candidate = _Candidate(version, value, required and not letter, bool(letter))
            metrics.setdefault(metric, []).append(candidate)
    of_each = [candidates for metrics in all_candidates.values() for candidates in metrics.values()]
    replaced = sum(max(sum(not candidate.dead_lettered for candidate in candidates) - 1, 0) for candidates in of_each)
    return {
        key: {metric: _choose(candidates) for metric, candidates in metrics.items()}
        for key, metrics in all_candidates.items()
    }, replaced


def _choose(candidates: Sequence[_Candidate]) -> _ExpectedRow:
    """The value of the highest version that must be there, or of any later version that may be there."""
    newest = max((candidate.version for candidate in candidates if candidate.required), default=-inf)
    values = tuple(candidate.value for candidate in candidates if candidate.version >= newest)
    return _ExpectedRow(values, newest > -inf, all(candidate.dead_lettered for candidate in candidates))


def compare_skipped(expected: Mapping[str, int], counted: Mapping[str, int], differences: Differences) -> None:
    """Compare the number of skipped metrics, by JSON type, with the worker's own counters."""
    for json_type in expected.keys() | counted.keys():
        more = counted.get(json_type, 0) - expected.get(json_type, 0)
        differences.add("lost", -more, f"{-more} metrics of type {json_type}, not counted as skipped")
        differences.add("wrong", more, f"{more} metrics of type {json_type}, counted as skipped")
