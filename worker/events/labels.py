"""Labels: short texts that every row of an event carries, such as its model or its release, to group and filter by.

A label that breaks a rule is skipped; it never costs the event.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from worker.core.model import Labels, SkippedLabels
from worker.events.tolerant_json import is_encodable

MAX_LABELS = 16
MAX_LABEL_NAME, MAX_LABEL_VALUE = 64, 256
"""Characters (Unicode code points)."""
NO_OBJECT, INVALID_NAME, NO_STRING, TOO_LONG, NO_TEXT, TOO_MANY = (
    "not_an_object", "invalid_name", "not_a_string", "too_long", "lone_surrogate", "too_many",
)  # fmt: skip
"""Why a label is skipped."""
SKIP_REASONS = (NO_OBJECT, INVALID_NAME, NO_STRING, TOO_LONG, NO_TEXT, TOO_MANY)

Attributes = Sequence[tuple[str, object]]
"""Names and values."""
NO_LABELS: tuple[Labels, SkippedLabels] = ((), ())
_TEXT = frozenset({str})
_READ: dict[tuple[object, ...], tuple[Labels, SkippedLabels]] = {}
"""Cache: what a producer sends again and again takes a fifth of the time, and its events share one tuple."""
_MAX_READ = 1_024
_MAX_CACHED_PARTS, _MAX_CACHED_CHARACTERS = 64, 512
"""Names and values, and their characters, of the largest set of labels that is cached."""


def read_labels(labels: object, status: object = None, attributes: Attributes = ()) -> tuple[Labels, SkippedLabels]:
    """Read the labels of an event, sorted by name, and what is skipped of them.

    Args:
        labels: the field `labels` of the event, None if it has none. Of more than `MAX_LABELS` the first are read.
        status: the field `status`; it and the attributes are labels too, unless `labels` has one of the name.
        attributes: those of the CloudEvent that are labels.
    """
    if not isinstance(labels, dict):
        if labels is not None:
            read, skipped = read_labels(None, status, attributes)
            return read, (("labels", NO_OBJECT), *skipped)
        labels = {}
    # As many names as values, and only texts are equal to texts: so no two different sets of labels have one key.
    key = (status, *attributes, *labels, *labels.values())
    try:
        if (found := _READ.get(key)) is not None:
            return found
    except TypeError:  # an array or an object, which is no label
        return _read_one_by_one(labels, status, attributes)
    result = _read(labels, status, attributes)
    texts: Iterable[str] = chain.from_iterable(result[0])
    if result[1]:  # what is skipped can be a long text
        texts = (part for part in chain(key, *attributes) if isinstance(part, str))
    if len(key) <= _MAX_CACHED_PARTS and len("".join(texts)) <= _MAX_CACHED_CHARACTERS:
        if len(_READ) >= _MAX_READ:
            _READ.clear()
        _READ[key] = result
    return result


def _read(labels: dict[str, object], status: object, attributes: Attributes) -> tuple[Labels, SkippedLabels]:
    fields = {name: value for name, value in (("status", status), *attributes) if value is not None} | labels
    if _are_valid(fields):
        return tuple(sorted(fields.items())), ()  # type: ignore[arg-type]  # just checked
    return _read_one_by_one(labels, status, attributes)


def _are_valid(fields: dict[str, object]) -> bool:
    """Whether all are labels: a third of the time of looking at each."""
    if not 1 <= len(fields) <= MAX_LABELS or not _TEXT.issuperset(map(type, fields.values())):
        return False
    lengths, value_lengths = list(map(len, fields)), list(map(len, fields.values()))  # type: ignore[arg-type]
    return (
        min(lengths) >= 1
        and max(lengths) <= MAX_LABEL_NAME
        and max(value_lengths) <= MAX_LABEL_VALUE
        and is_encodable("".join((*fields, *fields.values())))  # type: ignore[arg-type]
    )


def _read_one_by_one(labels: dict[str, object], status: object, attributes: Attributes) -> tuple[Labels, SkippedLabels]:
    read: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    others = ((name, value) for name, value in (("status", status), *attributes) if value is not None)
    for name, value in chain(labels.items(), others):
        if name in read:  # `labels` has one of this name
            continue
        reason = _problem(name, value) or (TOO_MANY if len(read) >= MAX_LABELS else None)
        if reason:
            skipped.append((name[:MAX_LABEL_NAME], reason))
        else:
            read[name] = value  # type: ignore[assignment]  # just checked
    return tuple(sorted(read.items())), tuple(skipped)


def _problem(name: str, value: object) -> str | None:
    """Why this is not a label; None if it is one."""
    if not (1 <= len(name) <= MAX_LABEL_NAME and is_encodable(name)):
        return INVALID_NAME
    if not isinstance(value, str):
        return NO_STRING
    if len(value) > MAX_LABEL_VALUE:
        return TOO_LONG
    return None if is_encodable(value) else NO_TEXT
