"""JSON as producers write it: orjson first, then a tolerant parse of what orjson refuses.

Python's standard library writes `NaN`, `Infinity` and numbers that no Float64 can hold, and orjson refuses the whole
document for one of them. The tolerant parse reads it as `UnrepresentableNumber`, so that it costs only its own metric.
"""

import json
import re
import sys
from typing import Any

import orjson

from worker.core.errors import InvalidEvent
from worker.core.model import UnrepresentableNumber
from worker.events.parsing_cost import check_parsing_cost

MAX_LEVELS = 1_024
"""Nesting of objects and arrays at which orjson stops. The tolerant parse stops there too, so that both refuse the same
documents."""

_BRACKET_OR_STRING = re.compile(r'[][{}]|"(?:[^"\\]|\\.)*"', re.DOTALL)
_LEVEL_CHANGES = {"[": 1, "{": 1, "]": -1, "}": -1}
_TOO_DEEP = "the value is nested too deeply"

_LARGEST_FLOAT = 1.7976931348623157e308
_DIGITS_64_BIT = 20
_USUAL_DIGITS = 32
_NUMBERS = frozenset({int, float, bool, UnrepresentableNumber})

_JSON_TYPES = {str: "string", dict: "object", list: "array", bool: "boolean", type(None): "null"}


def parse_json(value: bytes) -> object:
    """Parse a document.

    Raises:
        InvalidEvent: it is not UTF-8, not JSON, nested deeper than `MAX_LEVELS`, or has too many bytes or values.
    """
    check_parsing_cost(value)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return parse_tolerantly(value, error)


def parse_tolerantly(value: bytes, refusal: orjson.JSONDecodeError) -> object:
    """Parse what orjson has refused with `refusal`; raises as `parse_json` does."""
    try:
        # orjson has decoded it already, if it is UTF-8. A second copy could take four times the memory of `value`.
        text = refusal.doc or value.decode("utf-8")
        document = _load_deep(text)
    except UnicodeDecodeError as error:
        raise InvalidEvent("InvalidUTF8", f"the value is not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise InvalidEvent("InvalidJSON", f"the value is not JSON: {refusal}") from error
    except RecursionError as error:
        raise InvalidEvent("InvalidJSON", _TOO_DEEP) from error
    if text.count("[") + text.count("{") > MAX_LEVELS and _is_too_deep(text):
        raise InvalidEvent("InvalidJSON", _TOO_DEEP)
    return document


def parse_number(text: str) -> float | UnrepresentableNumber:
    """Parse a number or boolean as the metric of an event would be, also `NaN` and `1e400`; else raise ValueError."""
    try:
        # `orjson` alone takes a fifth of the time of `parse_json`.
        value: Any = orjson.loads(text if len(text) <= _USUAL_DIGITS else b"")
    except orjson.JSONDecodeError:
        value = _parse_unusual(text)
    if type(value) in _NUMBERS:
        return value  # type: ignore[no-any-return]  # just checked
    raise ValueError(f"{text[:40]!a} is not a number")


def _parse_unusual(text: str) -> object:
    try:
        return parse_json(text.encode("utf-8"))
    except InvalidEvent as error:
        raise ValueError(str(error)) from error


def json_type(value: object) -> str:
    """The name that JSON has for the type of a parsed value."""
    return json_type_name(type(value))


def json_type_name(kind: type) -> str:
    """The name that JSON has for values of type `kind`."""
    return _JSON_TYPES.get(kind, "number")


def is_encodable(text: str) -> bool:
    """Whether `text` can be written as UTF-8. A lone surrogate, which JSON can escape, cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def abbreviate(value: object) -> str:
    """A parsed value for an error message: short, in ASCII, and only its type where it is large or nested."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str | bytes | int | float):
        return json_type(value)
    text = ascii(value[:61] if isinstance(value, str | bytes) else value)  # the escapes of 10 MB take more
    return text if len(text) <= 60 else f"{text[:60]}…"


def _load_deep(text: str) -> object:
    limit = sys.getrecursionlimit()
    try:
        # Python 3.11 counts the levels of parser and callers together, so that its limit would come before orjson's.
        sys.setrecursionlimit(limit + 2 * MAX_LEVELS)
        return json.loads(text, parse_constant=UnrepresentableNumber, parse_float=_parse_float, parse_int=_parse_int)
    finally:
        sys.setrecursionlimit(limit)


def _is_too_deep(text: str) -> bool:
    """Whether `text`, which is valid JSON, is nested deeper than orjson reads."""
    levels = 0
    for match in _BRACKET_OR_STRING.finditer(text):
        levels += _LEVEL_CHANGES.get(match[0], 0)
        if levels > MAX_LEVELS:
            return True
    return False


def _parse_float(literal: str) -> float | UnrepresentableNumber:
    number = float(literal)
    return number if abs(number) <= _LARGEST_FLOAT else UnrepresentableNumber(literal)


def _parse_int(literal: str) -> float | UnrepresentableNumber:
    # As orjson does: integers of 64 bits stay exact, longer ones become floats. The length is checked first because
    # Python raises an error for an int of more than some thousand digits.
    if len(literal) <= _DIGITS_64_BIT and -(2**63) <= (number := int(literal)) < 2**64:
        return number
    return _parse_float(literal)
