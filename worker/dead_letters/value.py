"""The value of a dead letter: a metric as JSON, a pointer as JSON, or the bytes of an event."""

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from worker.core.errors import InvalidEvent, WorkerError
from worker.core.model import Event, Failed, FailedEvent, Labels, Record, UnrepresentableNumber
from worker.core.times import format_rfc3339, parse_rfc3339
from worker.dead_letters.dead_letter import DeadLetter
from worker.events.completed_at import MAX_TIME, MIN_TIME
from worker.events.decode import MAX_ID_LENGTH, MAX_NAME_LENGTH, canonical_id
from worker.events.labels import read_labels
from worker.events.parsing_cost import check_parsing_cost
from worker.events.tolerant_json import is_encodable, parse_json, parse_number

_TEXT = frozenset({str})
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_TEXT_FIELDS = ("metric_type", "metric_value", "agent_name", "execution_id", "completed_at", "recorded_at")
_read_texts = itemgetter(*_TEXT_FIELDS)


class InvalidDeadLetter(WorkerError):
    """The headers are valid, but the value is not what they promise."""


class Pointer(NamedTuple):
    """Size in bytes and SHA-256 of a value that did not fit the topic."""

    size: int
    sha256: str


def encode_value(failed: Failed) -> bytes:
    """Encode a metric as the fields of its row; return the bytes of an event unchanged."""
    if isinstance(failed, FailedEvent):
        return failed.record.value or b""
    event, record = failed.event, failed.event.record
    row = {
        "execution_id": event.execution_id,
        "agent_name": event.agent_name,
        "user_id": event.user_id,
        "labels": dict(event.labels),
        "metric_type": failed.metric,
        "metric_value": format_number(failed.value),
        "completed_at": format_rfc3339(event.completed_at),
        "recorded_at": format_rfc3339(event.recorded_at),
        "source_topic": record.topic,
        "source_partition": record.partition,
        "source_offset": record.offset,
    }
    return _encode_json(row)


def parse_metric_event(letter: DeadLetter, record: Record | None = None) -> Event:
    """Return the event with only the failed metric; its record is `record`, or the dead letter itself.

    Raises InvalidDeadLetter if the value cannot be parsed, or `decode` gives no event such a field.
    """
    try:
        row: Any = parse_json(letter.record.value or b"")  # a name may be a lone surrogate, which orjson refuses
        name, value, agent, execution, completed_at, recorded_at = texts = _read_texts(row)
        user = row["user_id"]
        if not (_TEXT.issuperset(map(type, texts)) and (user is None or isinstance(user, str))):
            raise TypeError(f"each of {', '.join(_TEXT_FIELDS)} and user_id is text")
        return Event(
            *_parse_surroundings(execution, agent, user, completed_at, recorded_at),
            {name: parse_number(value)},
            record or letter.record,
            _parse_labels(row["labels"]),
        )
    except (InvalidEvent, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidDeadLetter(f"the value is not a metric: {type(error).__name__}: {error}") from error


@lru_cache(maxsize=64)  # the metrics of one event follow each other
def _parse_surroundings(
    execution: str, agent: str, user: str | None, completed_at: str, recorded_at: str
) -> tuple[str, str, str | None, int, int]:
    """The first fields of an event; the fan-out checks the name of the metric.

    Raises ValueError if an event cannot have them, so that the cache keeps only short texts.
    """
    if not 1 <= len(execution) <= MAX_ID_LENGTH:
        raise ValueError(f"execution_id is empty, or longer than {MAX_ID_LENGTH} characters")
    if not (1 <= len(agent) <= MAX_NAME_LENGTH and len(user or "") <= MAX_NAME_LENGTH):
        raise ValueError(f"agent_name is empty, or agent_name or user_id longer than {MAX_NAME_LENGTH} characters")
    if not is_encodable(execution + agent + (user or "")):
        raise ValueError("execution_id, agent_name or user_id contains a lone surrogate, which is not a character")
    completed = _parse_time("completed_at", completed_at, MIN_TIME)
    return canonical_id(execution), agent, user, completed, _parse_time("recorded_at", recorded_at, 0)


def _parse_labels(labels: object) -> Labels:
    """The labels of an event. Raises ValueError if it cannot have them."""
    if labels == {}:
        return ()
    if not isinstance(labels, dict):
        raise TypeError("labels is not an object")
    read, skipped = read_labels(labels)
    if skipped:
        raise ValueError(f"label {skipped[0][0]!a} is none: {skipped[0][1]}")
    return read


def _parse_time(field: str, text: str, earliest: int) -> int:
    """The time in `field`. Raises ValueError if it is no time, or outside of `earliest` to the last of the table."""
    if not earliest <= (milliseconds := parse_rfc3339(text)) <= MAX_TIME:
        raise ValueError(f"{field} is outside of {format_rfc3339(earliest)} to {format_rfc3339(MAX_TIME)}")
    return milliseconds


def encode_pointer_value(failed: Failed) -> bytes:
    """Encode the position of the source record, and size and digest of the value that did not fit."""
    record = failed.record
    full = encode_value(failed)
    fields = {
        "source_topic": record.topic,
        "source_partition": record.partition,
        "source_offset": record.offset,
        "size": len(full),
        "sha256": sha256(full).hexdigest(),
    }
    return _encode_json(fields)


def _encode_json(document: Mapping[str, object]) -> bytes:
    """Encode as UTF-8, in which the texts of a thousand dead letters take a third of their escapes.

    A metric name may contain a lone surrogate, which only an escape can represent: Python's is that of JSON.
    """
    return _JSON.encode(document).encode("utf-8", "backslashreplace")


def parse_pointer(letter: DeadLetter) -> Pointer:
    """Return size and digest of the value that did not fit. Raises InvalidDeadLetter if they cannot be parsed."""
    try:
        value: Any = parse_json(letter.record.value or b"")
        return Pointer(int(value["size"]), str(value["sha256"]))
    except (InvalidEvent, KeyError, TypeError, ValueError) as error:
        raise InvalidDeadLetter(f"the value is not a pointer: {type(error).__name__}: {error}") from error


def parse_agent_name(letter: DeadLetter) -> str | None:
    """Return the agent's name if the value contains one; even an invalid event may."""
    if letter.is_pointer:
        return None
    try:
        check_parsing_cost(letter.record.value or b"")
        document = orjson.loads(letter.record.value or b"")
    except (orjson.JSONDecodeError, InvalidEvent):
        return None
    if isinstance(document, dict) and isinstance(document.get("data"), dict):
        document = document["data"]  # a structured CloudEvent
    name = document.get("agent_name") if isinstance(document, dict) else None
    return name if isinstance(name, str) else None


def format_number(value: float | UnrepresentableNumber) -> str:
    """Format a number as text that `parse_number` parses to the same number; JSON has no NaN."""
    if isinstance(value, UnrepresentableNumber):
        return value.literal
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
