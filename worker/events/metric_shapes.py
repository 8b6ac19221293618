"""What the metrics of an event become by their names and types alone: worked out once for all events of one shape.

Producers send few shapes: the same names in the same order, with values of the same types. To look at each metric in
turn takes ten times as long.
"""

from collections.abc import Callable, Collection, Iterable
from operator import itemgetter
from typing import Any, NamedTuple

from worker.events.decode import MAX_NAME_LENGTH
from worker.events.skip_counter import MAX_NAME_LENGTH as MAX_SKIPPED_NAME_LENGTH
from worker.events.tolerant_json import is_encodable

Names = tuple[str, ...]
Types = tuple[type, ...]
SkippedMetric = tuple[str, type]
"""Name and type of the value."""

NUMBERS = frozenset({int, float, bool})
"""The types of values that become rows."""
_REMEMBERED_TYPES = NUMBERS | {str, type(None), list, dict}
NAMES: dict[Names, Names] = {}
"""Cache: the names of metrics that are all numbers, by themselves, so that the events of one shape share a tuple."""
SHAPES: dict[Names, dict[Types, "MetricShape"]] = {}
"""Cache: all other shapes, by the names of all metrics, then by the types of their values."""
MAX_BYTES = 4 * 1024 * 1024
"""Estimated memory of both, which are emptied when they are full: shapes that occur once must not keep those out that
recur."""
_MAX_SHAPE_BYTES = MAX_BYTES // 32
_SHAPE_BYTES, _METRIC_BYTES = 1_000, 250
"""Memory of a shape, and of each of its metrics beside the characters of the name."""
_used_bytes = 0
_SEEN_ONCE: set[int] = set()
"""Hashes of shapes that are not remembered yet: what occurs only once is not worth its memory."""
_MAX_SEEN_ONCE = 10_000

KNOWN_NAMES: set[str] = set()
"""Cache: valid names of rows, for producers that send them in ever new orders; emptied when it is full."""
MAX_KNOWN_NAMES = 10_000


class MetricShape(NamedTuple):
    """What the metrics of one shape become.

    Attributes:
        names: of the rows, in order.
        values_of: returns the values of the rows from the metrics of an event.
        skipped: what becomes no row.
    """

    names: Names
    values_of: Callable[[dict[str, Any]], Iterable[float]]
    skipped: tuple[SkippedMetric, ...] = ()


def add_shape(names: Names, types: Types) -> tuple[MetricShape, int] | None:
    """Work out what metrics with these names and types become, and remember it the second time.

    Also returns how many characters the names of rows have, 0 if all are known. None if a metric fails, or may fail.
    """
    shape = _work_out(names, types)
    if shape is None:
        return None
    new_characters = 0 if KNOWN_NAMES.issuperset(shape.names) else check_names(shape.names)
    if new_characters is None:
        return None
    key = hash((names, types))
    if key not in _SEEN_ONCE:
        if len(_SEEN_ONCE) >= _MAX_SEEN_ONCE:
            _SEEN_ONCE.clear()
        _SEEN_ONCE.add(key)
    elif _make_space(names):
        SHAPES.setdefault(names, {})[types] = shape
    return shape, new_characters


def add_names(names: Names) -> int | None:
    """Check the names of metrics that are all numbers, and remember them the second time.

    Returns how many characters they have, 0 if all are known, or None if any is invalid.
    """
    new_characters = 0 if KNOWN_NAMES.issuperset(names) else check_names(names)
    if new_characters is None:
        return None
    key = hash(names)
    if key not in _SEEN_ONCE:
        if len(_SEEN_ONCE) >= _MAX_SEEN_ONCE:
            _SEEN_ONCE.clear()
        _SEEN_ONCE.add(key)
    elif _make_space(names):
        NAMES[names] = names
    return new_characters


def check_names(names: Collection[str]) -> int | None:
    """Check the names of rows; returns how many characters they have, None if any is invalid."""
    joined = "".join(names)
    if not (min(map(len, names)) >= 1 and max(map(len, names)) <= MAX_NAME_LENGTH):
        return None
    if not (joined.isascii() or is_encodable(joined)):
        return None
    if len(KNOWN_NAMES) >= MAX_KNOWN_NAMES:
        KNOWN_NAMES.clear()
    KNOWN_NAMES.update(names)
    return len(joined)


def _work_out(names: Names, types: Types) -> MetricShape | None:
    if not _REMEMBERED_TYPES.issuperset(types):
        return None
    rows: list[str] = []
    skipped: list[SkippedMetric] = []
    for name, kind in zip(names, types, strict=True):
        if kind in NUMBERS:
            rows.append(name)
        else:
            skipped.append((name[:MAX_SKIPPED_NAME_LENGTH], kind))
    return MetricShape(tuple(rows), _getter(rows), tuple(skipped))


def _getter(names: list[str]) -> Callable[[dict[str, Any]], Iterable[float]]:
    # itemgetter returns a tuple of two values or more, but one value alone.
    if len(names) > 1:
        return itemgetter(*names)
    return lambda metrics: [metrics[name] for name in names]


def _make_space(names: Names) -> bool:
    """Make space for one more shape; returns whether it is small enough to be remembered."""
    global _used_bytes
    size = _SHAPE_BYTES + _METRIC_BYTES * len(names) + len("".join(names))
    if size > _MAX_SHAPE_BYTES:
        return False
    if _used_bytes + size > MAX_BYTES:
        NAMES.clear()
        SHAPES.clear()
        _used_bytes = 0
    _used_bytes += size
    return True
