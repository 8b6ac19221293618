"""The fields of an event as the reference reads them; like `reference`, it shares no code with the worker."""

from __future__ import annotations

import math
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY = 86_400_000
Labels = tuple[tuple[str, str], ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC) - _MILLISECOND
LAST_TIME = (_LAST - _EPOCH) // _MILLISECOND
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]((?:[01][0-9]|2[0-3]):[0-5][0-9]):([0-9]{2})"
    r"(\.[0-9]+)?([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)


class Literal(str):
    """A JSON number as it is written."""

    __slots__ = ()


def canonical_id(execution_id: str) -> str:
    """A UUID with its hyphens in lower case; any other id as it is."""
    lower = execution_id.lower()
    return lower if _UUID.fullmatch(lower) and execution_id.isascii() else execution_id


def read_integer(literal: Literal) -> str:
    """An integer of 64 bits exactly as it is; one that is written as a float up to 2**53."""
    if _INTEGER.fullmatch(literal):
        number = int(literal)
        require(-(2**63) <= number < 2**64)
        return str(number)
    require(float(literal).is_integer() and abs(float(literal)) <= 2**53)
    return str(int(float(literal)))


def read_labels(given: Any, others: Sequence[tuple[str, Any]]) -> tuple[Labels, Counter[str]]:  # noqa: ANN401
    """The labels, sorted by name, and how many are skipped for each reason; `others` only where `given` has none."""
    skipped: Counter[str] = Counter(["not_an_object"] if given is not None and not isinstance(given, dict) else [])
    labels: dict[str, str] = {}
    own = list(given.items()) if isinstance(given, dict) else []
    for position, (name, value) in enumerate([*own, *others]):
        if position >= len(own) and (value is None or name in labels):
            continue
        if not is_text(name, least=1, most=64):
            skipped["invalid_name"] += 1
        elif not isinstance(value, str) or isinstance(value, Literal):
            skipped["not_a_string"] += 1
        elif len(value) > 256:
            skipped["too_long"] += 1
        elif not is_text(value):
            skipped["lone_surrogate"] += 1
        elif len(labels) == 16:
            skipped["too_many"] += 1
        else:
            labels[name] = value
    return tuple(sorted(labels.items())), skipped


def require(holds: object) -> None:
    """Raise ValueError if a rule is broken."""
    if not holds:
        raise ValueError("a rule is broken")


def is_text(text: object, least: int = 0, most: float = math.inf) -> bool:
    """Whether it is a text of so many characters, none of them a lone surrogate."""
    if not isinstance(text, str) or isinstance(text, Literal):
        return False
    return least <= len(text) <= most and not _SURROGATE.search(text)


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time, in UTC without an offset, or of a number.

    Raises ValueError for any other text.
    """
    if isinstance(text, Literal):
        number = float(text)
        require(math.isfinite(number))
        milliseconds = round(number if number >= 1e11 else number * 1_000)
        require((_FIRST - _EPOCH) // _MILLISECOND <= milliseconds <= LAST_TIME)
        return milliseconds
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError("not RFC 3339")
    day, minute, second, fraction, offset = parts.groups()
    leap = second == "60"
    at = datetime.fromisoformat(f"{day}T{minute}:{'59' if leap else second}{(offset or 'Z').upper()}")
    at = at.astimezone(UTC) + timedelta(seconds=leap, milliseconds=int(f"{fraction or '.'}000"[1:4]))
    if not _FIRST <= at <= _LAST:
        raise ValueError("the table cannot hold it")
    return (at - _EPOCH) // _MILLISECOND


def canonical_number(literal: str) -> str:
    """A number in one form: a 64-bit integer exactly, else a float; what no float can hold verbatim."""
    if literal in ("true", "false"):
        return literal
    if _INTEGER.fullmatch(literal) and -(2**63) <= (number := int(literal)) < 2**64:
        return str(number)
    return repr(float(literal)) if math.isfinite(float(literal)) else literal
