"""The books of one dead letter: does it keep the original, and say where it came from?"""

from __future__ import annotations

import math
import re
from hashlib import sha256
from typing import TYPE_CHECKING

from deploy.local.demo.reference import read_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.dead_letters import FoundDeadLetter
    from tests.fuzz.expected import ExpectedResult

LARGEST = 2**20
"""Bytes of a record that the worker's producer sends at most; what comes near may be a pointer, what is beyond must."""
_NEAR = 4_096
_LONGEST_KEY = 1_024
_INTEGER = re.compile(r"-?[0-9]{1,20}")


def find_faults(expected: ExpectedResult, letter: FoundDeadLetter, error_class: str, literal: str) -> Iterator[str]:
    """What is wrong with a dead letter that is owed, in words; `literal` is the number as the producer wrote it."""
    record = expected.record
    yield from letter.faults
    if letter.source != (expected.position, -1 if record.unreadable else record.timestamp):
        yield f"it names {letter.source} as its source"
    if letter.error_class == "too_large":
        yield from _pointer_faults(expected, letter)
        return
    if letter.error_class != error_class:
        yield f"its class is {letter.error_class}, not {error_class}"
    if not record.unreadable:
        yield from _kept_faults(expected, letter, literal)
    elif letter.error_type != "UnreadableRecord" or letter.digest != _digest(b"") or letter.key or letter.headers:
        yield f"an unreadable record has nothing but its place, not {letter}"[:500]


def _kept_faults(expected: ExpectedResult, letter: FoundDeadLetter, literal: str) -> Iterator[str]:
    """The original must be there, byte by byte."""
    record = expected.record
    if letter.size > LARGEST:
        yield f"{letter.size} bytes that should be a pointer"
    if letter.key != record.key:
        yield "its key is another"
    if letter.headers != record.headers:
        yield f"its headers are {letter.headers}"[:300]
    if letter.metric is None:
        if letter.digest != _digest(record.value or b""):
            yield "its bytes are others"
    else:
        yield from _metric_faults(expected, letter, literal)


def _pointer_faults(expected: ExpectedResult, letter: FoundDeadLetter) -> Iterator[str]:
    record, document = expected.record, letter.document
    if (document["source_partition"], document["source_offset"]) != expected.position:
        yield f"it points to {document}"
    if letter.metric is None and (document["sha256"], document["size"]) != (
        _digest(record.value or b""),
        len(record.value or b""),
    ):
        yield "its digest or size is of something else"
    if letter.headers or letter.key != (record.key if len(record.key or b"") <= _LONGEST_KEY else None):
        yield "a pointer has the key, if it is short, and no headers of the source"
    around = len(record.key or b"") + sum(len(name) + len(text or b"") for name, text in record.headers)
    if document["size"] + around + _NEAR < LARGEST:
        yield f"{document['size']} bytes and {around} around them need no pointer"


def _metric_faults(expected: ExpectedResult, letter: FoundDeadLetter, literal: str) -> Iterator[str]:
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
        if _instant(document[name]) != milliseconds:
            yield f"{name} is {document[name]}, not {milliseconds}"
    if not same_number(document["metric_value"], literal):
        yield f"its value is {document['metric_value'][:60]}, not {literal[:60]}"


def _instant(text: str) -> int:
    """Milliseconds of an instant as dead letters have it."""
    event = b'{"execution_id":"00000000-0000-0000-0000-000000000000","agent_name":"a","metrics":{},"completed_at":"%s"}'
    return read_event(event % text.encode(), (), 0).completed_at


def same_number(text: str, literal: str) -> bool:
    """Whether `text` says what a producer wrote as `literal`: exactly with 64 bits, and for what no float can hold."""
    if text == literal:
        return True
    if "true" in (text, literal) or "false" in (text, literal):
        return False
    if _INTEGER.fullmatch(literal) and -(2**63) <= int(literal) < 2**64:
        return _INTEGER.fullmatch(text) is not None and int(text) == int(literal)
    return math.isfinite(float(literal)) and float(text) == float(literal)


def _digest(value: bytes) -> str:
    return sha256(value).hexdigest()
