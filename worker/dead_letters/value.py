"""The value of a dead letter: a metric as JSON, a pointer as JSON, or the bytes of an event."""

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from worker.core.errors import WorkerError
from worker.core.model import Event, Failed, FailedEvent, Record, ReplayedRecord, Unrepresentable
from worker.dead_letters.dead_letter import DeadLetter
from worker.events.tolerant_json import is_encodable, parse_number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_JSON = json.JSONEncoder(separators=(",", ":"))
"""Writes ASCII only: a metric name may contain a lone surrogate, which only an escape can represent."""


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
        "execution_id": str(event.execution_id),
        "agent_name": event.agent_name,
        "user_id": event.user_id,
        "metric_type": failed.metric,
        "metric_value": format_number(failed.value),
        "completed_at": format_rfc3339(event.completed_at),
        "recorded_at": format_rfc3339(event.recorded_at),
        "source_topic": record.topic,
        "source_partition": record.partition,
        "source_offset": record.offset,
    }
    return _JSON.encode(row).encode("ascii")


def parse_metric_event(letter: DeadLetter) -> Event:
    """Return the event with only the failed metric; its record is a `ReplayedRecord`.

    Raises:
        InvalidDeadLetter: the value cannot be parsed.
    """
    try:
        row = _load_json(letter.record.value or b"")
        name, agent, user, execution = row["metric_type"], row["agent_name"], row["user_id"], row["execution_id"]
        if not (
            isinstance(name, str)
            and isinstance(agent, str)
            and (user is None or isinstance(user, str))
            and isinstance(execution, str)
        ):
            raise TypeError("a field is not text")
        if not is_encodable(agent + (user or "")):  # the fan-out checks the metric name
            raise ValueError("agent_name or user_id contains a lone surrogate, which is not a character")
        return Event(
            _parse_uuid(execution),
            agent,
            user,
            parse_rfc3339(row["completed_at"]),
            parse_rfc3339(row["recorded_at"]),
            {name: parse_number(row["metric_value"])},
            to_replayed_record(letter, None),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidDeadLetter(f"the value is not a metric: {type(error).__name__}: {error}") from error


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
    return _JSON.encode(fields).encode("ascii")


def parse_pointer(letter: DeadLetter) -> Pointer:
    """Return size and digest of the value that did not fit.

    Raises:
        InvalidDeadLetter: the value cannot be parsed.
    """
    try:
        value = orjson.loads(letter.record.value or b"")
        return Pointer(int(value["size"]), str(value["sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidDeadLetter(f"the value is not a pointer: {type(error).__name__}: {error}") from error


def parse_agent_name(letter: DeadLetter) -> str | None:
    """Return the agent's name if the value contains one; even an invalid event may."""
    if letter.is_pointer:
        return None
    try:
        document = orjson.loads(letter.record.value or b"")
    except orjson.JSONDecodeError:
        return None
    if isinstance(document, dict) and isinstance(document.get("data"), dict):
        document = document["data"]  # a structured CloudEvent
    name = document.get("agent_name") if isinstance(document, dict) else None
    return name if isinstance(name, str) else None


def to_replayed_record(letter: DeadLetter, value: bytes | None, found: Record | None = None) -> ReplayedRecord:
    """Rebuild the source record of `letter`, to be processed again.

    Args:
        letter: the dead letter that is replayed.
        value: the bytes of the event; None for a single metric.
        found: the source record if it was fetched; it has the key and headers that a pointer leaves out.
    """
    topic, partition, offset = letter.source
    return ReplayedRecord(
        topic,
        partition,
        offset,
        found.timestamp if found else letter.source_timestamp,
        found.key if found else letter.record.key,
        value,
        found.headers if found else letter.source_headers,
        letter.replays + 1,
        letter.attempts,
        letter.position,
        letter.kind == "event",
        letter.part_of,
    )


def format_number(value: float | Unrepresentable) -> str:
    """Format a number as text that `parse_number` parses to the same number; JSON has no NaN."""
    if isinstance(value, Unrepresentable):
        return value.literal
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def format_rfc3339(milliseconds: int) -> str:
    """Format milliseconds since 1970 as RFC 3339 in UTC, with exactly three decimals."""
    seconds, rest = divmod(milliseconds, 1_000)
    # Not strftime: it omits the leading zeros of years before 1000.
    return f"{(_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()}.{rest:03}Z"


@lru_cache(maxsize=4_096)  # the metrics of one event have the same times
def parse_rfc3339(text: str) -> int:
    """Parse what `format_rfc3339` returns.

    Raises:
        ValueError: `text` has another form.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text[:40]!a} is not a time in UTC with milliseconds")
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND


def _load_json(value: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return json.loads(value)  # accepts a lone surrogate in a name, which orjson refuses


@lru_cache(maxsize=1_024)  # the metrics of one event mostly follow one another
def _parse_uuid(text: str) -> UUID:
    if len(text) != 36:
        raise ValueError("execution_id is not a UUID")
    return UUID(int=int(text.replace("-", ""), 16))
