"""From the bytes of a record to an `Event`, by the contract in `schemas/event.schema.json`.

The fast path is one `orjson.loads`. What orjson refuses goes through a second, tolerant parse, because Python producers
write `NaN` with their standard library: the numbers that no Float64 can hold become `Unrepresentable` and cost only
their own metric.
"""

import json
import re
import sys
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from uuid import UUID, SafeUUID

import orjson

from worker.core.errors import InvalidEvent
from worker.core.model import Event, Record, UnreadableRecord, Unrepresentable

MAX_BYTES = 16 * 1024 * 1024
"""Bytes of a value that are looked at. JSON of nothing but empty arrays takes twenty times as much memory once it is
read (64 bytes for each `[],`), which must be bounded whatever the limit of the topic (`max.message.bytes`) is."""
MAX_METRICS = 1_000
"""Metrics in one event; more than that is a mistake of the producer, and would make one record a batch."""
MAX_NAME_LENGTH = 256
"""Characters (Unicode code points) in the name of an agent or a metric."""
MAX_LEVELS = 1_024
"""Objects and arrays within each other: where orjson stops, and the tolerant parse with it, so that the same record is
always read in the same way."""
SCHEMA_MAJOR = 1

MAX_TIME = 10_413_791_999_999
"""2299-12-31T23:59:59.999Z in milliseconds, the last instant of DateTime64."""
_MIN_TIME = -2_208_988_800_000  # 1900-01-01T00:00:00Z, the first instant of DateTime64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_UUID_LENGTH = 36
_HYPHENS = slice(8, 24, 5)
_SET = object.__setattr__  # how UUID, which is immutable, sets its own
_UNKNOWN = SafeUUID.unknown  # to look it up is slow
# RFC 3339, section 5.6; datetime.fromisoformat alone would take weeks, basic forms and times without an offset.
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:\d\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.IGNORECASE | re.ASCII,
)
_SECOND = slice(17, 19)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_MARKS = re.compile(r'[][{}]|"(?:[^"\\]|\\.)*"', re.DOTALL)
_VERSION = re.compile(r"(\d+)(?:\.\d+)*", re.ASCII)


def decode(record: Record) -> Event | None:
    """Read a record as an event; None for a tombstone (a record without a value).

    Raises:
        InvalidEvent: the value is not an event; the whole record is at fault.
    """
    value = record.value
    if not value:
        _check_tombstone(record)
        return None
    if len(value) > MAX_BYTES:
        _refuse("TooLarge", f"an event has at most {MAX_BYTES} bytes, not {len(value)}")
    document = _parse(value)
    if record.headers:
        document = _unwrap_cloudevent(record.headers, document)
    return _event(document, record)


def _check_tombstone(record: Record) -> None:
    if isinstance(record, UnreadableRecord):
        _refuse("UnreadableRecord", "the Kafka client cannot parse the record, or one before it in its record batch")
    if record.value is not None:
        _refuse("InvalidJSON", "the value is empty")


def _parse(value: bytes) -> object:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as refusal:
        return _parse_tolerantly(value, refusal)


def _parse_tolerantly(value: bytes, refusal: orjson.JSONDecodeError) -> object:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidEvent("InvalidUTF8", f"the value is not UTF-8: {error.reason} at byte {error.start}") from error
    document = _parse_deeply(text, refusal)
    if text.count("[") + text.count("{") > MAX_LEVELS and _too_deep(text):
        _refuse("InvalidJSON", "the value is nested too deeply")
    return document


def _parse_deeply(text: str, refusal: orjson.JSONDecodeError) -> object:
    usual = sys.getrecursionlimit()
    try:
        # Python 3.11 counts levels together with the stack of whoever calls, and would stop before orjson does.
        sys.setrecursionlimit(usual + 2 * MAX_LEVELS)
        return json.loads(text, parse_constant=Unrepresentable, parse_float=_float, parse_int=_int)
    except json.JSONDecodeError as error:
        raise InvalidEvent("InvalidJSON", f"the value is not JSON: {refusal}") from error
    except RecursionError as error:
        raise InvalidEvent("InvalidJSON", "the value is nested too deeply") from error
    finally:
        sys.setrecursionlimit(usual)


def _too_deep(text: str) -> bool:
    """Whether more objects and arrays stand within each other in `text`, which is JSON, than orjson would read."""
    levels = 0
    for mark in _MARKS.finditer(text):
        levels += _STEPS.get(mark[0], 0)
        if levels > MAX_LEVELS:
            return True
    return False


def number(text: str) -> float | Unrepresentable:
    """The number that `text` is, as the metric of an event would be read: `true`, `NaN` and `1e400` as well.

    Raises:
        ValueError: it is none.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(text, parse_constant=Unrepresentable, parse_float=_float, parse_int=_int)
        except RecursionError as error:
            raise ValueError("nested") from error
    if isinstance(value, int | float | Unrepresentable):
        return value
    raise ValueError(f"{text[:40]!a} is no number")


def _float(literal: str) -> float | Unrepresentable:
    number = float(literal)
    return number if abs(number) <= _LARGEST else Unrepresentable(literal)


def _int(literal: str) -> float | Unrepresentable:
    # As orjson does: integers of 64 bits stay exact, longer ones are read as floats. The length comes first because
    # Python refuses to read an int of more than some thousand digits.
    if len(literal) <= _DIGITS_64_BIT and -(2**63) <= (number := int(literal)) < 2**64:
        return number
    return _float(literal)


_LARGEST = 1.7976931348623157e308
_DIGITS_64_BIT = 20


def _unwrap_cloudevent(headers: Sequence[tuple[str, bytes | None]], document: object) -> object:
    """Take the event out of a CloudEvent, in either mode of the Kafka protocol binding 1.0.

    In binary mode the value is the event already and only `ce_specversion` is looked at.
    """
    named = {name.lower(): value for name, value in headers}
    content_type = (named.get("content-type") or b"").lower()
    media_type = content_type.partition(b";")[0].rstrip()
    if not media_type.startswith(b"application/cloudevents"):
        _check_specversion(named.get("ce_specversion"))
        return document
    if media_type != b"application/cloudevents+json" or not isinstance(document, dict):
        _refuse("InvalidCloudEvent", "a structured CloudEvent must be one JSON object (application/cloudevents+json)")
    version = document.get("specversion")
    _check_specversion(version.encode("utf-8", "replace") if isinstance(version, str) else b"")
    if "data" in document:
        return document["data"]
    try:
        return _parse(b64decode(document["data_base64"], validate=True))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent("InvalidCloudEvent", "the CloudEvent carries no readable data") from error


def _check_specversion(version: bytes | None) -> None:
    if version is not None and version.partition(b".")[0] != b"1":
        _refuse("UnknownVersion", f"CloudEvents specversion {_shown(version)} is not 1.x")


def _event(document: object, record: Record) -> Event:
    if not isinstance(document, dict):
        _refuse("NotAnObject", f"an event is a JSON object, not {json_type(document)}")
    get = document.get
    if "schema_version" in document:
        _check_version(document["schema_version"])
    agent_name = get("agent_name")
    if not isinstance(agent_name, str) or not 1 <= len(agent_name) <= MAX_NAME_LENGTH:
        _refuse("InvalidField", f"agent_name must be a string of 1 to {MAX_NAME_LENGTH} characters{_got(agent_name)}")
    user_id = get("user_id")
    if user_id is not None and not isinstance(user_id, str):
        _refuse("InvalidField", f"user_id must be a string or null, not {json_type(user_id)}")
    metrics = get("metrics")
    if not isinstance(metrics, dict):
        _refuse("InvalidField", f"metrics must be an object{_got(metrics)}")
    if len(metrics) > MAX_METRICS:
        _refuse("TooManyMetrics", f"an event has at most {MAX_METRICS} metrics, not {len(metrics)}")
    if not (agent_name.isascii() and (user_id is None or user_id.isascii())):
        _check_encodable(agent_name, user_id)
    recorded_at = record.timestamp
    if not 0 <= recorded_at <= MAX_TIME:
        recorded_at = min(max(recorded_at, 0), MAX_TIME)
    completed_at = get("completed_at")
    return Event(
        _execution_id(get("execution_id")),
        agent_name,
        user_id,
        recorded_at if completed_at is None else _milliseconds(completed_at),
        recorded_at,
        metrics,
        record,
    )


def _execution_id(value: object) -> UUID:
    # uuid.UUID alone would take braces, "urn:uuid:", underscores, and hyphens anywhere.
    data = b""
    if isinstance(value, str) and len(value) == _UUID_LENGTH and value[_HYPHENS] == "----":
        try:
            data = bytes.fromhex(value.replace("-", ""))
        except ValueError:
            data = b""
    if len(data) != 16:  # fewer where white space, which fromhex leaves out, was among the 32 digits
        _refuse("InvalidField", f"execution_id must be a UUID such as 0b2d3c4e-…{_got(value)}")
    return _uuid(int.from_bytes(data))


def _uuid(number: int) -> UUID:
    """`UUID(int=number)` without its checks: 0.4 µs instead of 1.1, once an event."""
    made = UUID.__new__(UUID)
    _SET(made, "int", number)
    _SET(made, "is_safe", _UNKNOWN)
    return made


def _milliseconds(value: object) -> int:
    # As most producers write it, in a second in which others have completed: 0.4 µs instead of 1.3.
    text = value if isinstance(value, str) and len(value) == _USUAL_LENGTH else ""
    usual = text[19:20] == "." and text[23:] == "Z"
    second, fraction = _SECONDS.get(text[:19]), _FRACTIONS.get(text[20:23])
    if usual and second is not None and fraction is not None:
        return second + fraction
    milliseconds = _any_milliseconds(value)
    if usual and fraction is not None:
        if len(_SECONDS) >= _MAX_SECONDS:
            _SECONDS.clear()  # the next ones come into use again at once
        _SECONDS[text[:19]] = milliseconds - fraction
    return milliseconds


_SECONDS: dict[str, int] = {}
"""Milliseconds of seconds of UTC that were read before."""
_MAX_SECONDS = 20_000
_FRACTIONS = {f"{number:03}": number for number in range(1_000)}
_USUAL_LENGTH = len("2026-01-31T23:59:59.500Z")


def _any_milliseconds(value: object) -> int:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        _refuse("InvalidField", f"completed_at must be RFC 3339 with an offset, as 2026-01-31T23:59:59.5Z{_got(value)}")
    # RFC 3339 has leap seconds, datetime has not: 23:59:60 becomes a second after 23:59:59.
    leap = value[_SECOND] == "60"
    text = value[:17] + "59" + value[19:] if leap else value
    try:
        milliseconds = (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND + 1_000 * leap
    except (ValueError, OverflowError) as error:
        raise InvalidEvent("InvalidField", f"completed_at is no date and time{_got(value)}") from error
    if not _MIN_TIME <= milliseconds <= MAX_TIME:
        _refuse("InvalidField", f"completed_at must lie between 1900 and 2299{_got(value)}")
    return milliseconds


def _check_version(version: object) -> None:
    # 1.0 is the same JSON number as 1. A minor version needs a string: as numbers, 1.1 and 1.10 are one.
    if type(version) in (int, float) and version == SCHEMA_MAJOR:
        return
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None or match[1] != str(SCHEMA_MAJOR):
        _refuse("UnknownVersion", f"schema_version must be {SCHEMA_MAJOR} or {SCHEMA_MAJOR}.x{_got(version)}")


def _check_encodable(agent_name: str, user_id: str | None) -> None:
    for field, text in (("agent_name", agent_name), ("user_id", user_id or "")):
        if not is_encodable(text):
            _refuse("InvalidField", f"{field} holds a lone surrogate, which is not a character")


def is_encodable(text: str) -> bool:
    """Whether `text` can be written as UTF-8; a lone surrogate, which JSON can escape, cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def json_type(value: object) -> str:
    """What JSON calls the type of a parsed value."""
    return _JSON_TYPES.get(type(value), "number")


_JSON_TYPES = {str: "string", dict: "object", list: "array", bool: "boolean", type(None): "null"}


def _refuse(reason: str, message: str) -> NoReturn:
    raise InvalidEvent(reason, message)


def _got(value: object) -> str:
    """Show a value that was not wanted: short, in ASCII, and no more than its type where it could hold much."""
    return f"; got {_shown(value)}" if isinstance(value, str | int | float | None) else f"; got {json_type(value)}"


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
