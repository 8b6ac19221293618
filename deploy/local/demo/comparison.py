"""The test oracle for rows: compare the expected ones with those that were found. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.dead_letters import OUTAGE_CLASSES
from deploy.local.demo.expectations import EventFields, RecordPosition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.local.demo.dead_letters import FoundDeadLetter
    from deploy.local.demo.expectations import ExpectedRows, LetterKey

RowKey = tuple[str, str, int]
"""Execution, agent and day (since 1970)."""
IsRequired = Callable[[RecordPosition], bool]
"""Whether the rows and dead letters of this record must be there; otherwise they may be there."""
_MOST_EXAMPLES = 10
_MOST_POSITIONS = 50


class FoundRow(NamedTuple):
    """A row of the de-duplicated view."""

    metric: str
    value: float
    event: EventFields


class _Candidate(NamedTuple):
    """A row that may be there."""

    row: FoundRow
    required: bool
    dead_lettered: bool


class _ExpectedRow(NamedTuple):
    """The rows of which one may be there, whether one must be, and whether all their records became dead letters."""

    rows: tuple[FoundRow, ...]
    required: bool
    dead_lettered: bool


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
        positions: the first few records that differences are about.
    """

    repeats_allowed: bool = False
    lost: int = 0
    duplicates: int = 0
    wrong: int = 0
    repeats: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    positions: list[RecordPosition] = field(default_factory=list)

    def add(self, kind: str, count: int, example: str, position: RecordPosition | None = None) -> None:
        """Count `count` more of one kind."""
        if count <= 0:
            return
        setattr(self, kind, getattr(self, kind) + count)
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(f"{kind}: {example}")
        if position is not None and position not in self.positions and len(self.positions) < _MOST_POSITIONS:
            self.positions.append(position)

    def add_repeats(self, what: str, count: int, example: str, position: RecordPosition | None = None) -> None:
        """Count `count` repetitions: as duplicates, unless repeats are allowed."""
        if not self.repeats_allowed:
            self.add("duplicates", count, example, position)
        elif count > 0:
            self.repeats[what] += count

    @property
    def total(self) -> int:
        """The number of all differences."""
        return self.lost + self.duplicates + self.wrong

    def __bool__(self) -> bool:
        return self.total > 0


def compare_rows(
    sent: Iterable[ExpectedRows],
    found: Mapping[RowKey, Sequence[FoundRow]],
    unexpected: dict[LetterKey, FoundDeadLetter],
    differences: Differences,
    is_required: IsRequired,
) -> int:
    """Compare the rows of the de-duplicated view. Returns how many were replaced by a later event.

    A row that became a dead letter because of an outage is not lost; its dead letter is removed from `unexpected`.
    """
    expected, replaced = _resolve(sent, unexpected, differences, is_required)
    for key, metrics in expected.items():
        rows = {row.metric: row for row in found.get(key, ())}
        agree = all(wanted.required and rows.get(metric) in wanted.rows for metric, wanted in metrics.items())
        if not (agree and len(rows) == len(found.get(key, ())) == len(metrics)):
            _add_row_differences(metrics, found.get(key, ()), differences)
    for key in found.keys() - expected.keys():
        rows_of_key = found[key]
        differences.add("wrong", len(rows_of_key), f"rows of {key} were not expected", rows_of_key[0].event.position)
    return replaced


def _add_row_differences(
    expected: Mapping[str, _ExpectedRow], rows: Sequence[FoundRow], differences: Differences
) -> None:
    found: dict[str, list[FoundRow]] = {}
    for row in rows:
        found.setdefault(row.metric, []).append(row)
    for metric, wanted in expected.items():
        there = found.pop(metric, [])
        newest = wanted.rows[-1]
        of, position = f"{metric[:60]!a} of execution {newest.event.execution}", newest.event.position
        differences.add("lost", wanted.required and not there, f"the row {of}", position)
        differences.add("duplicates", len(there) - 1, f"{len(there)} rows {of}", position)
        example = f"the row {of}, which is a dead letter too"
        differences.add_repeats("both", bool(there) and wanted.dead_lettered, example, position)
        is_wrong = bool(there) and there[0] not in wanted.rows
        differences.add("wrong", is_wrong, f"the row {of} is {there}; expected {wanted.rows}"[:1_000], position)
    for there in found.values():
        differences.add("wrong", len(there), f"a row was not expected: {there[0]}"[:500], there[0].event.position)


def _resolve(
    sent: Iterable[ExpectedRows],
    unexpected: dict[LetterKey, FoundDeadLetter],
    differences: Differences,
    is_required: IsRequired,
) -> tuple[dict[RowKey, dict[str, _ExpectedRow]], int]:
    """The rows that remain when later events have replaced earlier ones, and how many were replaced."""
    all_candidates: dict[RowKey, dict[str, list[_Candidate]]] = {}
    for item in sent:
        position = item.event.position
        metrics = all_candidates.setdefault(item.owner, {})
        required = is_required(position)
        for metric, value in item.rows.items():
            letter = unexpected.pop((position, metric), None) if unexpected else None
            if letter is not None and letter.error_class not in OUTAGE_CLASSES:
                example = f"a dead letter, {letter.error_class}, in place of the row {metric[:60]!a}"
                differences.add("wrong", 1, example, position)
            candidate = _Candidate(FoundRow(metric, value, item.event), required and not letter, bool(letter))
            metrics.setdefault(metric, []).append(candidate)
    of_each = [candidates for metrics in all_candidates.values() for candidates in metrics.values()]
    replaced = sum(max(sum(not candidate.dead_lettered for candidate in candidates) - 1, 0) for candidates in of_each)
    return {
        key: {metric: _choose(candidates) for metric, candidates in metrics.items()}
        for key, metrics in all_candidates.items()
    }, replaced


def _choose(candidates: Sequence[_Candidate]) -> _ExpectedRow:
    """The row of the latest record that must be there, or of any later record that may be there."""
    versions = [candidate.row.event.version for candidate in candidates if candidate.required]
    newest = max(versions, default=(0, 0))
    rows = tuple(candidate.row for candidate in candidates if candidate.row.event.version >= newest)
    return _ExpectedRow(rows, bool(versions), all(candidate.dead_lettered for candidate in candidates))


def compare_skipped(
    what: str, expected: Mapping[str, int], counted: Mapping[str, int], differences: Differences
) -> None:
    """Compare the number of skipped metrics, by JSON type, or labels, by reason, with the worker's own counters."""
    for kind in expected.keys() | counted.keys():
        more = counted.get(kind, 0) - expected.get(kind, 0)
        differences.add("lost", -more, f"{-more} {what}, {kind}, not counted as skipped")
        differences.add("wrong", more, f"{more} {what}, {kind}, counted as skipped")
