"""The test oracle for one dead letter: it must keep the original record, and name its source."""

from __future__ import annotations

import math
import re
from hashlib import sha256
from typing import TYPE_CHECKING

from deploy.local.demo.reference import read_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.comparison import ExpectedResult
    from tests.fuzz.dead_letters import FoundDeadLetter

MAX_RECORD_BYTES = 2**20
"""The worker's producer sends no larger record. What is larger must be a pointer; what is a bit smaller may be."""
_MARGIN_BYTES = 4_096
_MAX_KEY_BYTES = 1_024
_INTEGER = re.compile(r"-?[0-9]{1,20}")


def find_faults(expected: ExpectedResult, letter: FoundDeadLetter, error_class: str, literal: str) -> Iterator[str]:
    """Describe what is wrong with an expected dead letter; `literal` is the number as the producer wrote it."""
    record = expected.record
    yield from letter.faults
    if letter.source != (expected.position, -1 if record.unreadable else record.timestamp):
        yield f"it names {letter.source} as its source"
    if letter.error_class == "too_large":
        yield from _find_pointer_faults(expected, letter)
        return
    if letter.error_class != error_class:
        yield f"its class is {letter.error_class}, not {error_class}"
    if not record.unreadable:
        yield from _find_content_faults(expected, letter, literal)
    elif letter.error_type != "UnreadableRecord" or letter.digest != _digest(b"") or letter.key or letter.headers:
        yield f"an unreadable record has only its position, not {letter}"[:500]


def _find_content_faults(expected: ExpectedResult, letter: FoundDeadLetter, literal: str) -> Iterator[str]:
    """The original must be there, byte by byte."""
    record = expected.record
    if letter.size > MAX_RECORD_BYTES:
        yield f"{letter.size} bytes that should be a pointer"
    if letter.key != record.key:
        yield "its key differs"
    if letter.headers != record.headers:
        yield f"its headers are {letter.headers}"[:300]
    if letter.metric is not None:
        yield from _find_metric_faults(expected, letter, literal)
    elif letter.digest != _digest(record.value or b""):
        yield "its bytes differ"


def _find_pointer_faults(expected: ExpectedResult, letter: FoundDeadLetter) -> Iterator[str]:
    record, document = expected.record, letter.document
    value, key = record.value or b"", record.key or b""
    if (document["source_partition"], document["source_offset"]) != expected.position:
        yield f"it points to {document}"
    if letter.metric is None and (document["sha256"], document["size"]) != (_digest(value), len(value)):
        yield "its digest or size differs"
    if letter.headers or letter.key != (record.key if len(key) <= _MAX_KEY_BYTES else None):
        yield "a pointer has the key, if it is short, and no headers of the source"
    around = len(key) + sum(len(name) + len(text or b"") for name, text in record.headers)
    if document["size"] + around + _MARGIN_BYTES < MAX_RECORD_BYTES:
        yield f"{document['size']} bytes and {around} around them need no pointer"


def _find_metric_faults(expected: ExpectedResult, letter: FoundDeadLetter, literal: str) -> Iterator[str]:
    reading, document = expected.reading, letter.document
    if reading is None or reading.owner is None:
        yield "a metric of no event"
        return
    execution_id, agent, _ = reading.owner
    right = {
        "execution_id": execution_id,
        "agent_name": agent,
        "user_id": reading.user,
        "source_partition": expected.position.partition,
        "source_offset": expected.position.offset,
    }
    for name, value in right.items():
        if document[name] != value:
            yield f"{name} is {ascii(document[name])[:100]}, not {ascii(value)[:100]}"
    for name, milliseconds in (("completed_at", reading.completed_at), ("recorded_at", reading.recorded_at)):
        if _parse_time(document[name]) != milliseconds:
            yield f"{name} is {document[name]}, not {milliseconds}"
    if not is_same_number(document["metric_value"], literal):
        yield f"its value is {document['metric_value'][:60]}, not {literal[:60]}"


def _parse_time(text: str) -> int:
    """Milliseconds of a time as dead letters have it, read by the reference."""
    event = b'{"execution_id":"00000000-0000-0000-0000-000000000000","agent_name":"a","metrics":{},"completed_at":"%s"}'
    return read_event(event % text.encode(), (), 0).completed_at


def is_same_number(text: str, literal: str) -> bool:
    """Whether `text` keeps `literal`: 64-bit integers exactly, others as a float, what no float can hold verbatim."""
    if text == literal:
        return True
    if "true" in (text, literal) or "false" in (text, literal):
        return False
    if _INTEGER.fullmatch(literal) and -(2**63) <= int(literal) < 2**64:
        return _INTEGER.fullmatch(text) is not None and int(text) == int(literal)
    return math.isfinite(float(literal)) and float(text) == float(literal)


def _digest(value: bytes) -> str:
    return sha256(value).hexdigest()
