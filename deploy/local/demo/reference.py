"""The contract once more: what must become of a record, read from `schemas/event.schema.json` and not from the worker.

Slow and short on purpose; the books are a check only as long as this shares no code with `worker.decode`. Of
CloudEvents it knows what the demo sends: a sound envelope, or none.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.local.demo.careless import Headers

REFUSED_BY_TABLE = {"execution_time_ms": lambda value: value < 0}
"""What the constraint that the demo adds to its table refuses, by metric."""
CONSTRAINT = "CONSTRAINT duration_not_negative CHECK metric_type != 'execution_time_ms' OR metric_value >= 0"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC) - timedelta(milliseconds=1)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_VERSION = re.compile(r"1(\.[0-9]+)*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3]):[0-5][0-9]):([0-9]{2})"
    r"(\.[0-9]+)?([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


class Literal(str):
    """A JSON number as it is written."""

    __slots__ = ()


@dataclass
class Reading:
    """What must become of one record; an event that nobody can read has no metrics that could be counted.

    Attributes:
        owner: execution, agent and day (since 1970) of the event; None where there is no event.
        rows: the value in ClickHouse, by metric.
        refused: the class of the dead letter and the number as it was written, by metric.
        skipped: how many values of each JSON type were no numbers.
    """

    owner: tuple[str, str, int] | None = None
    rows: dict[str, float] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def metrics(self) -> int:
        """How many metrics the event has."""
        return len(self.rows) + len(self.refused) + self.skipped.total()


def read(value: bytes, headers: Headers, timestamp: int) -> Reading:
    """Read the value of a record that is no tombstone; `timestamp` is the record's, in milliseconds."""
    try:
        document = json.loads(value.decode(), parse_int=Literal, parse_float=Literal, parse_constant=Literal)
        if b"application/cloudevents+json" in dict(headers).values():
            document = document["data"]
        reading = Reading(_owner(document, timestamp))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return Reading()  # whatever it was, it is no event
    for name, number in document["metrics"].items():
        _add(reading, name, number)
    return reading


def _add(reading: Reading, name: str, number: object) -> None:
    literal = number if isinstance(number, Literal) else str(number).lower()
    if not isinstance(number, Literal | bool):
        types = {str: "string", type(None): "null", list: "array", dict: "object"}
        reading.skipped[types[type(number)]] += 1
    elif not math.isfinite(value := float(number)) or not _is_text(name, least=1, most=256):
        reading.refused[name] = ("invalid_metric", literal)
    elif name in REFUSED_BY_TABLE and REFUSED_BY_TABLE[name](value):
        reading.refused[name] = ("row_refused", literal)
    else:
        reading.rows[name] = value


def _owner(document: Any, timestamp: int) -> tuple[str, str, int]:  # noqa: ANN401 - any JSON at all
    """Whose metrics these are; raises what comes when a field breaks its rule."""
    execution_id, agent, metrics = document["execution_id"], document["agent_name"], document["metrics"]
    user, instant, version = map(document.get, ("user_id", "completed_at", "schema_version"), (None, None, "1"))
    sound = (
        _UUID.fullmatch(execution_id)
        and _is_text(agent, least=1, most=256)
        and (user is None or _is_text(user))
        and (float(version) == 1 if isinstance(version, Literal) else _VERSION.fullmatch(version))
        and isinstance(metrics, dict)
        and len(metrics) <= 1_000
    )
    if not sound:
        raise ValueError("a field breaks its rule")
    at = _EPOCH + timedelta(milliseconds=timestamp) if instant is None else _instant(instant)
    return execution_id.lower(), agent, (at - _EPOCH).days


def _is_text(text: object, least: int = 0, most: float = math.inf) -> bool:
    if not isinstance(text, str) or isinstance(text, Literal):
        return False
    return least <= len(text) <= most and not _SURROGATE.search(text)


def _instant(text: str) -> datetime:
    parts = _INSTANT.fullmatch(text)
    if parts is None or isinstance(text, Literal):
        raise ValueError("not RFC 3339")
    day, minute, second, fraction, offset = parts.groups()
    leap = second == "60"
    at = datetime.fromisoformat(f"{day}T{minute}:{'59' if leap else second}{offset.upper()}")
    at = at.astimezone(UTC) + timedelta(seconds=leap, milliseconds=int(f"{fraction or '.'}000"[1:4]))
    if not _FIRST <= at <= _LAST:
        raise ValueError("the table cannot hold it")
    return at
