"""From the bytes of a record to an `Event`, by the contract in `schemas/event.schema.json`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import orjson

from worker.core.errors import InvalidEvent
from worker.core.model import Event, Record, UnreadableRecord
from worker.core.times import DAY
from worker.events.cloudevents import read_attributes, unwrap_cloudevent
from worker.events.completed_at import MAX_TIME, check_age, parse_completed_at
from worker.events.labels import NO_LABELS, Attributes, read_labels
from worker.events.parsing_cost import CHEAP_BYTES, check_parsing_cost
from worker.events.tolerant_json import abbreviate, is_encodable, json_type, parse_tolerantly

MAX_METRICS = 1_000
"""Metrics in one event; more is a mistake of the producer, and would make one record a batch."""
MAX_NAME_LENGTH = 256
"""Characters (Unicode code points) in the name of an agent, a user or a metric. A row and a dead letter for each metric
repeat them, so that a long one would cost a thousand times its size."""
MAX_ID_LENGTH = 128
"""Characters in the id of an execution, for the same reason."""
SCHEMA_MAJOR = 1

_EXACT_INTEGERS = 2**53
"""A larger float may be another integer than the producer meant."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_VERSION = re.compile(r"(\d+)(?:\.\d+)*", re.ASCII)


@dataclass(frozen=True)
class EventPolicy:
    """What an operator decides about events.

    Attributes:
        max_age_days: how long before the timestamp of its record the `completed_at` of an event may be; 0 for any time.
        cloudevent_labels: the attributes of CloudEvents that become labels.
    """

    max_age_days: int = 400
    cloudevent_labels: Sequence[str] = ()


DEFAULT_POLICY = EventPolicy()


def decode(record: Record, policy: EventPolicy = DEFAULT_POLICY) -> Event | None:
    """Read a record as an event; None for a tombstone (a record without a value).

    Raises:
        InvalidEvent: the record is not an event; the whole record is dead-lettered.
    """
    value = record.value
    if not value:
        _require_tombstone(record)
        return None
    if len(value) > CHEAP_BYTES:
        check_parsing_cost(value)
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        document = parse_tolerantly(value, error)
    attributes: Attributes = ()
    if record.headers:
        if policy.cloudevent_labels:
            attributes = read_attributes(record.headers, document, policy.cloudevent_labels)
        document = unwrap_cloudevent(record.headers, document)
    return _read_event(document, record, policy.max_age_days, attributes)


def canonical_id(execution_id: str) -> str:
    """The form in which the id of an execution is stored.

    A UUID with its hyphens is stored in lower case, so that two systems which write it in different cases do not make
    two executions of one. Any other id is stored as it was sent, so that it is found as it was sent: a trace id has 32
    hexadecimal digits too, and its users look for it without hyphens.
    """
    return execution_id.lower() if _UUID.fullmatch(execution_id) else execution_id


def _require_tombstone(record: Record) -> None:
    if isinstance(record, UnreadableRecord):
        raise InvalidEvent(record.error_type, record.reason)
    if record.value is not None:
        raise InvalidEvent("InvalidJSON", "the value is empty")


def _read_event(document: object, record: Record, max_age_days: int, attributes: Attributes) -> Event:
    if not isinstance(document, dict):
        raise InvalidEvent("NotAnObject", f"an event is a JSON object, not {json_type(document)}")
    get = document.get
    if "schema_version" in document:
        _check_version(document["schema_version"])
    agent_name = get("agent_name")
    if not isinstance(agent_name, str) or not 1 <= len(agent_name) <= MAX_NAME_LENGTH:
        _refuse_field(document, "agent_name", f"a string of 1 to {MAX_NAME_LENGTH} characters")
    execution_id = get("execution_id")
    if not isinstance(execution_id, str) or not 1 <= len(execution_id) <= MAX_ID_LENGTH:
        _refuse_field(document, "execution_id", f"a string of 1 to {MAX_ID_LENGTH} characters")
    user_id = get("user_id")
    if user_id is not None and not (isinstance(user_id, str) and len(user_id) <= MAX_NAME_LENGTH):
        user_id = _read_other_user_id(document, user_id)
    metrics = get("metrics")
    if not isinstance(metrics, dict) or len(metrics) > MAX_METRICS:
        _refuse_metrics(document, metrics)
    if not (agent_name.isascii() and execution_id.isascii() and (user_id is None or user_id.isascii())):
        _check_encodable(execution_id=execution_id, agent_name=agent_name, user_id=user_id or "")
    recorded_at = record.timestamp
    if not 0 <= recorded_at <= MAX_TIME:
        recorded_at = min(max(recorded_at, 0), MAX_TIME)
    text = get("completed_at")
    completed_at = recorded_at if text is None else parse_completed_at(text)
    # A record without a timestamp (-1) accepts any time: by the clock of the worker, a replay would judge otherwise.
    if not -DAY <= recorded_at - completed_at <= max_age_days * DAY and record.timestamp >= 0:
        check_age(completed_at, recorded_at, max_age_days)
    given, status = get("labels"), get("status")
    has_labels = given is not None or status is not None or attributes
    labels, skipped = read_labels(given, status, attributes) if has_labels else NO_LABELS
    # As `canonical_id` does, without a call: most ids are in lower case.
    execution_id = execution_id if execution_id.lower() == execution_id else canonical_id(execution_id)
    fields = (execution_id, agent_name, user_id, completed_at, recorded_at, metrics, record, labels, skipped)
    return tuple.__new__(Event, fields)  # 0.2 µs less than a call of the class


def _refuse_field(document: dict[str, object], field: str, expected: str) -> NoReturn:
    if field not in document:
        raise InvalidEvent("InvalidField", f"{field} is missing; it must be {expected}")
    raise InvalidEvent("InvalidField", f"{field} must be {expected}; got {abbreviate(document[field])}")


def _refuse_metrics(document: dict[str, object], metrics: object) -> NoReturn:
    if isinstance(metrics, dict):
        raise InvalidEvent("TooManyMetrics", f"an event has at most {MAX_METRICS} metrics, not {len(metrics)}")
    _refuse_field(document, "metrics", "an object")


def _read_other_user_id(document: dict[str, object], user_id: object) -> str:
    """The text of an integer; any other value is refused."""
    if type(user_id) is int:  # not a boolean
        return str(user_id)
    if isinstance(user_id, float) and user_id.is_integer() and abs(user_id) <= _EXACT_INTEGERS:
        return str(int(user_id))  # pandas writes integers as 42.0
    if isinstance(user_id, str):
        # Without the text: it may be a credential that was sent by mistake.
        raise InvalidEvent("InvalidField", f"user_id has at most {MAX_NAME_LENGTH} characters, not {len(user_id)}")
    _refuse_field(document, "user_id", "a string, an integer of 64 bits or null")


def _check_version(version: object) -> None:
    # 1.0 is the same JSON number as 1. A minor version needs a string: as numbers, 1.1 and 1.10 are equal.
    if type(version) in (int, float) and version == SCHEMA_MAJOR:
        return
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None or match[1] != str(SCHEMA_MAJOR):
        raise InvalidEvent(
            "UnknownVersion", f"schema_version must be {SCHEMA_MAJOR} or {SCHEMA_MAJOR}.x; got {abbreviate(version)}"
        )


def _check_encodable(**texts: str) -> None:
    for field, text in texts.items():
        if not is_encodable(text):
            raise InvalidEvent("InvalidField", f"{field} holds a lone surrogate, which is not a character")
