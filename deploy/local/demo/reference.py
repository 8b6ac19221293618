"""A second implementation of the event contract, written from `schemas/event.schema.json`, not from the worker.

It is slow and short on purpose. It must share no code with the worker: demo, `make chaos` and `make fuzz` compare the
two. Beyond the schema these rules hold: the last header of a name counts; a document has at most 1,024 levels; the
timestamp of a record is limited to the range from 1970 to the last instant of the table; an event was completed at most
400 days before its record and a day after it, unless the record has no timestamp.
"""

from __future__ import annotations

import json
import math
import re
import sys
from base64 import b64decode
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from deploy.local.demo.reference_fields import (
    DAY,
    LAST_TIME,
    Labels,
    Literal,
    canonical_id,
    is_text,
    parse_time,
    read_integer,
    read_labels,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deploy.local.demo.careless import Headers

REFUSED_BY_TABLE: Mapping[str, Callable[[float], bool]] = {"execution_time_ms": lambda value: value < 0}
"""The values that the constraint of the demo's table refuses, by metric."""
CONSTRAINT = "CONSTRAINT duration_not_negative CHECK metric_type != 'execution_time_ms' OR metric_value >= 0"
MAX_LEVELS = 1_024
MAX_BYTES, MAX_VALUES = 8 * 1024 * 1024, 250_000
"""Of a document: bytes, and commas and opening brackets. One of at most 64 KiB is not counted, and cannot have more."""

_VERSION = re.compile(r"1(\.[0-9]+)*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_CLOUDEVENTS = "application/cloudevents"


@dataclass
class Reading:
    """What must become of one record. The metrics of an unreadable event cannot be counted.

    Attributes:
        owner: execution, agent and day (since 1970) of the event; None if the record is no event.
        user: the user of the event.
        labels: of each row, sorted by name.
        completed_at: of the event, in milliseconds since 1970.
        recorded_at: the timestamp of the record, in milliseconds since 1970; with its offset the version of the rows.
        rows: the value in ClickHouse, by metric.
        refused: the class of the dead letter and the number as it was written, by metric.
        skipped: number of values that are no numbers, by JSON type.
        skipped_labels: number of labels that break a rule, by reason.
    """

    owner: tuple[str, str, int] | None = None
    user: str | None = None
    labels: Labels = ()
    completed_at: int = 0
    recorded_at: int = 0
    rows: dict[str, float] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    skipped_labels: Counter[str] = field(default_factory=Counter)

    @property
    def metrics(self) -> int:
        """How many metrics the event has."""
        return len(self.rows) + len(self.refused) + self.skipped.total()


def read_event(
    value: bytes,
    headers: Headers,
    timestamp: int,
    refused_by_table: Mapping[str, Callable[[float], bool]] = REFUSED_BY_TABLE,
    label_attributes: Sequence[str] = (),
) -> Reading:
    """Read the value of a record that is no tombstone; `timestamp` is the record's, in milliseconds.

    `label_attributes` names the attributes of CloudEvents that become labels (`EVENT_CLOUDEVENT_LABELS`).
    """
    try:
        envelope = _parse(value)
        document = _open_envelope(envelope, headers)
        attributes = [(name, _find_attribute(name, envelope, headers)) for name in label_attributes]
        reading = _read_fields(document, timestamp, attributes)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return Reading()  # no event
    for name, number in document["metrics"].items():
        _add_metric(reading, name, number, refused_by_table)
    return reading


def _parse(value: bytes) -> Any:  # noqa: ANN401 - any JSON at all
    require(len(value) <= MAX_BYTES and sum(map(value.count, (b",", b"[", b"{"))) <= MAX_VALUES)
    text = value.decode()
    with _recursion_allowed_for(text):
        return json.loads(text, parse_int=Literal, parse_float=Literal, parse_constant=Literal)


@contextmanager
def _recursion_allowed_for(text: str) -> Iterator[None]:
    """Let `json` recurse as deep as the contract allows, and no deeper. Its own limit depends on the caller's stack.

    Raises:
        ValueError: there are too many levels.
    """
    usual = sys.getrecursionlimit()
    if text.count("[") + text.count("{") > usual // 2:
        if max(accumulate(_STEPS.get(mark, 0) for mark in _STRING.sub("", text))) > MAX_LEVELS:
            raise ValueError("too many levels")
        sys.setrecursionlimit(usual + 2 * MAX_LEVELS)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


def _open_envelope(document: Any, headers: Headers) -> Any:  # noqa: ANN401
    """The event inside a structured CloudEvent, or `document` itself: Kafka protocol binding for CloudEvents 1.0.

    Raises an error of any type when the envelope breaks a rule.
    """
    last = {name.lower(): value for name, value in headers}
    named = {name: value.decode("latin-1") for name, value in last.items() if value is not None}
    media_type, _, _ = named.get("content-type", "").lower().partition(";")
    if not media_type.startswith(_CLOUDEVENTS):
        require(_is_version_1(named.get("ce_specversion", "1.0")))
        return document
    require(media_type.rstrip() == f"{_CLOUDEVENTS}+json" and _is_version_1(document["specversion"]))
    return document["data"] if "data" in document else _parse(b64decode(document["data_base64"], validate=True))


def _find_attribute(name: str, envelope: Any, headers: Headers) -> object:  # noqa: ANN401
    """An attribute of a CloudEvent that was opened; None of a plain event, and where there is none."""
    last = {header.lower(): value for header, value in headers}
    if (last.get("content-type") or b"").lower().startswith(_CLOUDEVENTS.encode()):
        return envelope.get(name)
    value = last.get(f"ce_{name}") if last.get("ce_specversion") is not None else None
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _is_version_1(version: object) -> bool:
    return isinstance(version, str) and not isinstance(version, Literal) and version.split(".")[0] == "1"


def _add_metric(
    reading: Reading, name: str, number: object, refused_by_table: Mapping[str, Callable[[float], bool]]
) -> None:
    if not isinstance(number, Literal | bool):
        types = {str: "string", type(None): "null", list: "array", dict: "object"}
        reading.skipped[types[type(number)]] += 1
        return
    literal = str(number) if isinstance(number, Literal) else str(number).lower()
    if not math.isfinite(value := float(number)) or not is_text(name, least=1, most=256):
        reading.refused[name] = ("invalid_metric", literal)
    elif name in refused_by_table and refused_by_table[name](value):
        reading.refused[name] = ("row_refused", literal)
    else:
        reading.rows[name] = value


def _read_fields(document: Any, timestamp: int, attributes: Sequence[tuple[str, object]]) -> Reading:  # noqa: ANN401
    """The event without its metrics; raises an error of any type when a field breaks its rule."""
    execution_id, agent, metrics = document["execution_id"], document["agent_name"], document["metrics"]
    user, time, version = map(document.get, ("user_id", "completed_at", "schema_version"), (None, None, "1"))
    require(is_text(execution_id, least=1, most=128) and is_text(agent, least=1, most=256))
    if isinstance(user, Literal):
        user = read_integer(user)
    require(user is None or is_text(user, most=256))
    require(float(version) == 1 if isinstance(version, Literal) else _VERSION.fullmatch(version))
    require(isinstance(metrics, dict) and len(metrics) <= 1_000)
    recorded_at = max(0, min(timestamp, LAST_TIME))
    completed_at = recorded_at if time is None else parse_time(time)
    require(timestamp < 0 or -DAY <= recorded_at - completed_at <= 400 * DAY)
    owner = canonical_id(execution_id), agent, completed_at // DAY
    labels, skipped = read_labels(document.get("labels"), [("status", document.get("status")), *attributes])
    return Reading(owner, user, labels, completed_at, recorded_at, skipped_labels=skipped)
