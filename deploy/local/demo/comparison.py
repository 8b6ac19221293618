"""The books: what was owed against what was found. Pure functions; nothing here asks the worker."""

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
LetterKey = tuple[RecordPosition, str | None]
OUTAGE = "store_unavailable"
_EXAMPLES = 5


class FoundDeadLetter(NamedTuple):
    """A dead letter as it was found; `proof` as in `ExpectedDeadLetter`."""

    position: RecordPosition
    metric: str | None
    error_class: str
    error_type: str
    code: str | None
    message: str
    proof: str


class _Candidate(NamedTuple):
    """A value that a row may hold; `is_required` when it must be there, `lettered` when it became a dead letter."""

    version: int
    value: float
    is_required: bool
    lettered: bool


class _Expected(NamedTuple):
    """What a row may hold, whether it must be there at all, and whether its only record became a dead letter."""

    values: tuple[float, ...]
    is_required: bool
    lettered: bool


IsRequired = Callable[[RecordPosition], bool]


def _always(_: RecordPosition) -> bool:
    return True


@dataclass
class Differences:
    """What does not agree.

    Attributes:
        repeats_allowed: whether something may have been done twice, because it was cut off before it was committed.
        lost: owed and found nowhere.
        duplicates: found more than once.
        wrong: found with another value or class, or not owed at all.
        repeats: what was done twice and was allowed to be, by what it is: "rows" of the table (not of its view),
            "letters" (the same dead letter again) and "both" (a row, and a dead letter of an outage besides).
        examples: the first few, in words.
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
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{kind}: {example}")

    def repeat(self, what: str, count: int, example: str) -> None:
        """Count what was done `count` times more than once: a duplicate, unless repeats are allowed."""
        if not self.repeats_allowed:
            self.add("duplicates", count, example)
        elif count > 0:
            self.repeats[what] += count

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicates or self.wrong)


def compare_letters(
    owed: Mapping[LetterKey, ExpectedDeadLetter],
    found: Iterable[FoundDeadLetter],
    differences: Differences,
    is_required: IsRequired = _always,
) -> dict[LetterKey, FoundDeadLetter]:
    """Compare dead letters; those that were not owed are returned, for rows that became dead letters instead.

    `is_required` tells which records' dead letters must be there; those of the others may be.
    """
    seen: Counter[LetterKey] = Counter()
    stray: dict[LetterKey, FoundDeadLetter] = {}
    for letter in found:
        where = letter.position, letter.metric
        seen[where] += 1
        if where not in owed:
            stray[where] = letter
        elif seen[where] == 1 and not _is(letter, owed[where]):
            differences.add(
                "wrong", 1, f"{_named(where)} is {letter.error_class} of {letter.proof[:40]}; owed was {owed[where]}"
            )
    for where, count in seen.items():
        differences.repeat("letters", count - 1, f"{count} times {_named(where)}")
    for where, missing in owed.items():
        differences.add("lost", where not in seen and is_required(where[0]), f"{_named(where)}, {missing.error_class}")
    return stray


def _named(where: LetterKey) -> str:
    position, metric = where
    of = "" if metric is None else f"{metric!r} of "
    return f"the dead letter of {of}record {position.partition}/{position.offset}"


def _is(letter: FoundDeadLetter, owed: ExpectedDeadLetter) -> bool:
    if letter.metric is None:
        # What does not fit the topic comes as a pointer, with the digest of the same bytes.
        return letter.error_class in (owed.error_class, "too_large") and letter.proof == owed.proof
    # A row that ClickHouse would refuse may be in flight when ClickHouse goes away.
    classes = (owed.error_class, OUTAGE) if owed.error_class == "row_refused" else (owed.error_class,)
    return letter.error_class in classes and same_number(letter.proof, owed.proof)


def same_number(one: str, other: str) -> bool:
    """Whether two texts are the same number, `true` and `false` among them."""
    if one == other or "true" in (one, other) or "false" in (one, other):
        return one == other
    return float(one) == float(other)


def compare_rows(
    sent: Iterable[ExpectedRows],
    found: Mapping[RowKey, Sequence[tuple[str, float]]],
    stray: dict[LetterKey, FoundDeadLetter],
    differences: Differences,
    is_required: IsRequired = _always,
) -> int:
    """Compare the rows of the de-duplicated view; how many were replaced by a later event is returned.

    A row that became a dead letter because ClickHouse was away is not lost; its letter is taken out of `stray`.
    `is_required` tells which records' rows must be there; those of the others may be.
    """
    owed, replaced = _owed(sent, stray, differences, is_required)
    for owner, metrics in owed.items():
        rows = found.get(owner, ())
        values = dict(rows)
        agree = all(
            expected.is_required and values.get(metric) in expected.values for metric, expected in metrics.items()
        )
        if not (agree and len(values) == len(rows) == len(metrics)):
            _report_differences(owner, metrics, rows, differences)
    for owner in found.keys() - owed.keys():
        differences.add("wrong", len(found[owner]), f"rows of {owner} were not owed")
    return replaced


def _report_differences(
    owner: RowKey, owed: Mapping[str, _Expected], rows: Sequence[tuple[str, float]], differences: Differences
) -> None:
    """Say how the rows of one owner differ."""
    there: dict[str, list[float]] = {}
    for metric, value in rows:
        there.setdefault(metric, []).append(value)
    for metric, expected in owed.items():
        values = there.pop(metric, [])
        row = f"{metric} of execution {owner[0]}"
        differences.add("lost", expected.is_required and not values, f"the row {row}")
        differences.add("duplicates", len(values) - 1, f"{len(values)} rows {row}")
        differences.repeat("both", bool(values) and expected.lettered, f"the row {row}, which is a dead letter too")
        differences.add(
            "wrong",
            bool(values) and values[0] not in expected.values,
            f"the row {row} is {values}; owed was {expected.values}",
        )
    for metric, values in there.items():
        differences.add("wrong", len(values), f"the row {metric} of execution {owner[0]} was not owed")


def _owed(
    sent: Iterable[ExpectedRows],
    stray: dict[LetterKey, FoundDeadLetter],
    differences: Differences,
    is_required: IsRequired,
) -> tuple[dict[RowKey, dict[str, _Expected]], int]:
    """The rows that are owed when later events have replaced earlier ones, and how many those were."""
    owed: dict[RowKey, dict[str, list[_Candidate]]] = {}
    for owner, position, version, rows in sent:
        metrics = owed.setdefault(owner, {})
        sure = is_required(position)
        for metric, value in rows.items():
            letter = stray.pop((position, metric), None) if stray else None
            if letter is not None and letter.error_class != OUTAGE:
                example = f"{_named((position, metric))}, {letter.error_class}, in place of a row"
                differences.add("wrong", 1, example)
            metrics.setdefault(metric, []).append(_Candidate(version, value, sure and not letter, bool(letter)))
    of_each = [candidates for metrics in owed.values() for candidates in metrics.values()]
    replaced = sum(max(sum(not candidate.lettered for candidate in candidates) - 1, 0) for candidates in of_each)
    return {
        owner: {metric: _expected(candidates) for metric, candidates in metrics.items()}
        for owner, metrics in owed.items()
    }, replaced


def _expected(candidates: Sequence[_Candidate]) -> _Expected:
    """The value of the highest version that must be there, or of any later one that may be."""
    newest = max((candidate.version for candidate in candidates if candidate.is_required), default=-inf)
    values = tuple(candidate.value for candidate in candidates if candidate.version >= newest)
    lettered = all(candidate.lettered for candidate in candidates)
    return _Expected(values, is_required=newest > -inf, lettered=lettered)


def compare_skipped(owed: Mapping[str, int], counted: Mapping[str, int], differences: Differences) -> None:
    """Compare what was skipped, by JSON type; only the worker itself can say how much that was."""
    for json_type in owed.keys() | counted.keys():
        more = counted.get(json_type, 0) - owed.get(json_type, 0)
        differences.add("lost", -more, f"{-more} metrics of type {json_type}, not counted as skipped")
        differences.add("wrong", more, f"{more} metrics of type {json_type}, counted as skipped")
