"""The books: what was owed against what was found. Pure functions; nothing here asks the worker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.ledger import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.local.demo.ledger import Owed, Sent

Owner = tuple[str, str, int]
Where = tuple[Place, str | None]
_EXAMPLES = 5


class Letter(NamedTuple):
    """A dead letter as it was found; `proof` as in `Owed`."""

    place: Place
    metric: str | None
    error_class: str
    error_type: str
    code: str | None
    message: str
    proof: str


class _Latest(NamedTuple):
    """What a row may hold: the value of the highest version; several when events came within one millisecond."""

    version: int
    values: tuple[float, ...]


@dataclass
class Differences:
    """What does not agree.

    Attributes:
        lost: owed and found nowhere.
        duplicates: found more than once.
        wrong: found with another value or class, or not owed at all.
        examples: the first few, in words.
    """

    lost: int = 0
    duplicates: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, count: int, example: str) -> None:
        """Count `count` more of one kind."""
        if count > 0:
            setattr(self, kind, getattr(self, kind) + count)
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{kind}: {example}")

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicates or self.wrong)


def compare_letters(
    owed: Mapping[Where, Owed], found: Iterable[Letter], differences: Differences
) -> dict[Where, Letter]:
    """Compare dead letters; those that were not owed are returned, for rows that became dead letters instead."""
    seen: Counter[Where] = Counter()
    stray: dict[Where, Letter] = {}
    for letter in found:
        where = letter.place, letter.metric
        seen[where] += 1
        if where not in owed:
            stray[where] = letter
        elif seen[where] == 1 and not _is(letter, owed[where]):
            differences.add(
                "wrong", 1, f"{_named(where)} is {letter.error_class} of {letter.proof[:40]}; owed was {owed[where]}"
            )
    for where, count in seen.items():
        differences.add("duplicates", count - 1, f"{count} times {_named(where)}")
    for where, missing in owed.items():
        differences.add("lost", where not in seen, f"{_named(where)}, {missing.error_class}")
    return stray


def _named(where: Where) -> str:
    place, metric = where
    of = "" if metric is None else f"{metric!r} of "
    return f"the dead letter of {of}record {place.partition}/{place.offset}"


def _is(letter: Letter, owed: Owed) -> bool:
    if letter.metric is None:
        # What does not fit the topic comes as a pointer, with the digest of the same bytes.
        return letter.error_class in (owed.error_class, "too_large") and letter.proof == owed.proof
    return letter.error_class == owed.error_class and same_number(letter.proof, owed.proof)


def same_number(one: str, other: str) -> bool:
    """Whether two texts are the same number, `true` and `false` among them."""
    if one == other or "true" in (one, other) or "false" in (one, other):
        return one == other
    return float(one) == float(other)


def compare_rows(
    sent: Iterable[Sent],
    found: Mapping[Owner, Sequence[tuple[str, float]]],
    stray: dict[Where, Letter],
    differences: Differences,
) -> int:
    """Compare the rows of the de-duplicated view; how many were replaced by a later event is returned.

    A row that became a dead letter because ClickHouse was away is not lost; its letter is taken out of `stray`.
    """
    owed, replaced = _latest(sent, stray, differences)
    for owner, metrics in owed.items():
        rows = found.get(owner, ())
        values = dict(rows)
        agree = all(values.get(metric) in latest.values for metric, latest in metrics.items())
        if not (agree and len(values) == len(rows) == len(metrics)):
            _tell(owner, metrics, rows, differences)
    for owner in found.keys() - owed.keys():
        differences.add("wrong", len(found[owner]), f"rows of {owner} were not owed")
    return replaced


def _tell(
    owner: Owner, owed: Mapping[str, _Latest], rows: Sequence[tuple[str, float]], differences: Differences
) -> None:
    """Say how the rows of one owner differ."""
    there: dict[str, list[float]] = {}
    for metric, value in rows:
        there.setdefault(metric, []).append(value)
    for metric, latest in owed.items():
        values = there.pop(metric, [])
        row = f"{metric} of execution {owner[0]}"
        differences.add("lost", not values, f"the row {row}")
        differences.add("duplicates", len(values) - 1, f"{len(values)} rows {row}")
        differences.add(
            "wrong",
            bool(values) and values[0] not in latest.values,
            f"the row {row} is {values}; owed was {latest.values}",
        )
    for metric, values in there.items():
        differences.add("wrong", len(values), f"the row {metric} of execution {owner[0]} was not owed")


def _latest(
    sent: Iterable[Sent], stray: dict[Where, Letter], differences: Differences
) -> tuple[dict[Owner, dict[str, _Latest]], int]:
    """The rows that are owed when later events have replaced earlier ones, and how many those were."""
    owed: dict[Owner, dict[str, _Latest]] = {}
    replaced = 0
    for owner, place, version, rows in sent:
        metrics = owed.setdefault(owner, {})
        for metric, value in rows.items():
            letter = stray.pop((place, metric), None) if stray else None
            if letter is not None:
                innocent = letter.error_class == "store_unavailable"
                differences.add(
                    "wrong", not innocent, f"{_named((place, metric))}, {letter.error_class}, in place of a row"
                )
                continue
            known = metrics.get(metric)
            replaced += known is not None
            if known is None or version > known.version:
                metrics[metric] = _Latest(version, (value,))
            elif version == known.version:
                metrics[metric] = _Latest(version, (*known.values, value))
    return owed, replaced


def compare_skipped(owed: Mapping[str, int], counted: Mapping[str, int], differences: Differences) -> None:
    """Compare what was skipped, by JSON type; only the worker itself can say how much that was."""
    for json_type in owed.keys() | counted.keys():
        more = counted.get(json_type, 0) - owed.get(json_type, 0)
        differences.add("lost", -more, f"{-more} metrics of type {json_type}, not counted as skipped")
        differences.add("wrong", more, f"{more} metrics of type {json_type}, counted as skipped")
