"""From the bytes of a record to an `Event`, by the contract in `schemas/event.schema.json`."""

import re
from typing import NoReturn

import orjson

from worker.core.errors import InvalidEvent
from worker.core.model import Event, Record, UnreadableRecord
from worker.core.uuids import parse_uuid
from worker.events.cloudevents import unwrap_cloudevent
from worker.events.completed_at import MAX_TIME, check_age, parse_completed_at
from worker.events.parsing_cost import CHEAP_BYTES, check_parsing_cost
from worker.events.tolerant_json import abbreviate, is_encodable, json_type, parse_tolerantly

MAX_METRICS = 1_000
"""Metrics in one event; more is a mistake of the producer, and would make one record a batch."""
MAX_NAME_LENGTH = 256
"""Characters (Unicode code points) in the name of an agent, a user or a metric. A row and a dead letter for each metric
repeat them, so that a long one would cost a thousand times its size."""
DEFAULT_MAX_AGE_DAYS = 400
SCHEMA_MAJOR = 1

_VERSION = re.compile(r"(\d+)(?:\.\d+)*", re.ASCII)


def decode(record: Record, max_age_days: int = DEFAULT_MAX_AGE_DAYS) -> Event | None:
    """Read a record as an event; None for a tombstone (a record without a value).

    Args:
        record: as Kafka has it.
        max_age_days: how long before the timestamp of the record `completed_at` may be; 0 for any time.

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
    if record.headers:
        document = unwrap_cloudevent(record.headers, document)
    return _read_event(document, record, max_age_days)


def _require_tombstone(record: Record) -> None:
    if isinstance(record, UnreadableRecord):
        raise InvalidEvent(record.error_type, record.reason)
    if record.value is not None:
        raise InvalidEvent("InvalidJSON", "the value is empty")


def _read_event(document: object, record: Record, max_age_days: int) -> Event:
    if not isinstance(document, dict):
        raise InvalidEvent("NotAnObject", f"an event is a JSON object, not {json_type(document)}")
    get = document.get
    if "schema_version" in document:
        _check_version(document["schema_version"])
    agent_name = get("agent_name")
    if not isinstance(agent_name, str) or not 1 <= len(agent_name) <= MAX_NAME_LENGTH:
        _refuse_field(document, "agent_name", f"a string of 1 to {MAX_NAME_LENGTH} characters")
    user_id = get("user_id")
    if user_id is not None and not (isinstance(user_id, str) and len(user_id) <= MAX_NAME_LENGTH):
        _refuse_user_id(document, user_id)
    metrics = get("metrics")
    if not isinstance(metrics, dict):
        _refuse_field(document, "metrics", "an object")
    if len(metrics) > MAX_METRICS:
        raise InvalidEvent("TooManyMetrics", f"an event has at most {MAX_METRICS} metrics, not {len(metrics)}")
    if not (agent_name.isascii() and (user_id is None or user_id.isascii())):
        _check_encodable(agent_name, user_id)
    execution_id = parse_uuid(get("execution_id"))
    if execution_id is None:
        _refuse_field(document, "execution_id", "a UUID such as 0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081")
    recorded_at = record.timestamp
    if not 0 <= recorded_at <= MAX_TIME:
        recorded_at = min(max(recorded_at, 0), MAX_TIME)
    text = get("completed_at")
    completed_at = recorded_at if text is None else parse_completed_at(text)
    # A record without a timestamp (-1) accepts any time: by the clock of the worker, a replay would judge otherwise.
    check_age(completed_at, recorded_at, max_age_days if record.timestamp >= 0 else 0)
    return Event(execution_id, agent_name, user_id, completed_at, recorded_at, metrics, record)


def _refuse_field(document: dict[str, object], field: str, expected: str) -> NoReturn:
    if field not in document:
        raise InvalidEvent("InvalidField", f"{field} is missing; it must be {expected}")
    raise InvalidEvent("InvalidField", f"{field} must be {expected}; got {abbreviate(document[field])}")


def _refuse_user_id(document: dict[str, object], user_id: object) -> NoReturn:
    if isinstance(user_id, str):
        # Without the text: it may be a credential that was sent by mistake.
        raise InvalidEvent("InvalidField", f"user_id has at most {MAX_NAME_LENGTH} characters, not {len(user_id)}")
    _refuse_field(document, "user_id", "a string or null")


def _check_version(version: object) -> None:
    # 1.0 is the same JSON number as 1. A minor version needs a string: as numbers, 1.1 and 1.10 are equal.
    if type(version) in (int, float) and version == SCHEMA_MAJOR:
        return
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None or match[1] != str(SCHEMA_MAJOR):
        raise InvalidEvent(
            "UnknownVersion", f"schema_version must be {SCHEMA_MAJOR} or {SCHEMA_MAJOR}.x; got {abbreviate(version)}"
        )


def _check_encodable(agent_name: str, user_id: str | None) -> None:
    for field, text in (("agent_name", agent_name), ("user_id", user_id or "")):
        if not is_encodable(text):
            raise InvalidEvent("InvalidField", f"{field} holds a lone surrogate, which is not a character")
