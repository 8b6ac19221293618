"""The dead letters of the topic, and their comparison with the expected ones."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.local.demo.expectations import EventFields, RecordPosition
from deploy.local.demo.reference_fields import canonical_number, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.local.demo.careless import Headers
    from deploy.local.demo.comparison import Differences, IsRequired
    from deploy.local.demo.expectations import ExpectedDeadLetter, LetterKey

OUTAGE_CLASSES = frozenset({"store_unavailable"})
"""The error classes that a valid row can get."""
MAX_RECORD_BYTES = 2**20
"""The worker's producer sends no larger record. What is larger must be a pointer; what is a bit smaller may be."""
_MARGIN_BYTES = 4_096
_MAX_KEY_BYTES = 1_024
_MAX_REPEATED_BYTES, _MAX_REPEATED_HEADERS = 16_384, 100
_MAX_MESSAGE = 2_000
_MAX_NAME = 256
_FIRST_ADDED = "dlq.kind"
_ERROR_TYPE = re.compile(r"[A-Za-z0-9_]+")


class Pointer(NamedTuple):
    """What a dead letter has in place of a payload that is too large."""

    position: RecordPosition
    size: int


class FoundDeadLetter(NamedTuple):
    """A dead letter of the topic.

    Attributes:
        position, timestamp: of the source record, as the letter names them.
        metric: its name; None where the whole event failed.
        content: the number of a metric as it was written, or the SHA-256 of the bytes of an event.
        size: of key, value and headers, in bytes.
        headers: those of the source record, which come before the added ones.
        event: the event of a metric; None for a whole event and for a pointer.
        faults: descriptions of what is wrong with the added headers.
    """

    position: RecordPosition
    metric: str | None
    error_class: str
    error_type: str
    code: str | None
    message: str
    content: str
    timestamp: int
    size: int
    key: bytes | None
    headers: Headers
    event: EventFields | None = None
    pointer: Pointer | None = None
    faults: tuple[str, ...] = ()


def parse_dead_letter(key: bytes | None, value: bytes, headers: Headers) -> FoundDeadLetter:
    """Parse a record of the dead-letter topic. Raises ValueError or KeyError when it is no dead letter."""
    names = [name for name, _ in headers]
    start = len(names) - 1 - names[::-1].index(_FIRST_ADDED)
    added = {name: (text or b"").decode() for name, text in headers[start:]}
    metric, content, event, pointer = None, sha256(value).hexdigest(), None, None
    if added["dlq.error.class"] == "too_large":
        document = json.loads(value)
        metric, content, pointer = added.get("dlq.metric"), document["sha256"], _parse_pointer(document)
    elif added["dlq.kind"] == "metric":
        document = json.loads(value)
        metric, content, event = document["metric_type"], document["metric_value"], _parse_event(document)
    return FoundDeadLetter(
        position=RecordPosition(int(added["dlq.source.partition"]), int(added["dlq.source.offset"])),
        metric=metric,
        error_class=added["dlq.error.class"],
        error_type=added["dlq.error.type"],
        code=added.get("dlq.error.code"),
        message=added["dlq.error.message"],
        content=content,
        timestamp=int(added["dlq.source.timestamp"]),
        size=len(key or b"") + len(value) + sum(len(name) + len(text or b"") for name, text in headers),
        key=key,
        headers=headers[:start],
        event=event,
        pointer=pointer,
        faults=tuple(_find_header_faults(added, len(names) - start)),
    )


def _parse_pointer(document: dict[str, Any]) -> Pointer:
    return Pointer(RecordPosition(document["source_partition"], document["source_offset"]), document["size"])


def _parse_event(document: dict[str, Any]) -> EventFields:
    return EventFields(
        RecordPosition(document["source_partition"], document["source_offset"]),
        document["execution_id"],
        document["agent_name"],
        document["user_id"],
        tuple(document["labels"].items()),
        parse_time(document["completed_at"]),
        parse_time(document["recorded_at"]),
    )


def _find_header_faults(added: Mapping[str, str], count: int) -> list[str]:
    rules = {
        "an added header is there twice": len(added) == count,
        "neither of an event nor of a metric": added["dlq.kind"] in ("event", "metric"),
        "the error type is no name": _ERROR_TYPE.fullmatch(added["dlq.error.type"]),
        "the message is too long": len(added["dlq.error.message"]) <= _MAX_MESSAGE,
        "it says that it was replayed": added["dlq.replays"] == "0",
        "there is no table": added["dlq.table"],
        "there is no version": added["dlq.worker"],
        "a metric without its execution": ("dlq.execution_id" in added) == (added["dlq.kind"] == "metric"),
    }
    return [fault for fault, holds in rules.items() if not holds]


class DeadLetterComparison:
    """Compares dead letters one by one, so that a long run needs little memory.

    From about `pointer_bytes` on a dead letter may be a pointer.

    Attributes:
        classes: number of dead letters, and the first of them, by class.
        metrics: number of dead letters of metrics.
        unexpected: dead letters that were not expected; some may be of rows that failed in an outage.
    """

    def __init__(
        self,
        expected: Mapping[LetterKey, ExpectedDeadLetter],
        differences: Differences,
        pointer_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        self.classes: dict[str, tuple[int, FoundDeadLetter]] = {}
        self.metrics = 0
        self.unexpected: dict[LetterKey, FoundDeadLetter] = {}
        self._expected = expected
        self._differences = differences
        self._pointer_bytes = pointer_bytes
        self._counts: dict[LetterKey, int] = {}
        self._full_names = {
            (position, _shorten(name)): name for position, name in expected if name and _shorten(name) != name
        }

    def add(self, letter: FoundDeadLetter) -> None:
        """Compare one dead letter."""
        count, example = self.classes.get(letter.error_class, (0, letter))
        self.classes[letter.error_class] = count + 1, example
        self.metrics += letter.metric is not None
        key = letter.position, letter.metric
        if letter.pointer and letter.metric is not None:
            key = letter.position, self._full_names.get((letter.position, letter.metric), letter.metric)
        self._counts[key] = self._counts.get(key, 0) + 1
        expected = self._expected.get(key)
        if expected is None:
            self.unexpected[key] = letter
        elif self._counts[key] == 1 and (faults := "; ".join(_find_faults(letter, expected, self._pointer_bytes))):
            self._differences.add("wrong", 1, f"{_describe(key)}: {faults}"[:500], key[0])

    def finish(self, is_required: IsRequired) -> None:
        """Count what is missing, and what was found more than once."""
        for key, count in self._counts.items():
            self._differences.add_repeats("letters", count - 1, f"{count} times {_describe(key)}", key[0])
        for key, missing in self._expected.items():
            if key not in self._counts and is_required(key[0]):
                self._differences.add("lost", 1, f"{_describe(key)}, {missing.error_class}", key[0])


def _shorten(name: str) -> str:
    """A name as the header of a pointer has it: its first characters, and lone surrogates escaped."""
    return name[:_MAX_NAME].encode("utf-8", "backslashreplace").decode()


def _describe(key: LetterKey) -> str:
    position, metric = key
    of = "" if metric is None else f"{metric[:60]!a} of "
    return f"the dead letter of {of}record {position.partition}/{position.offset}"


def _find_faults(letter: FoundDeadLetter, expected: ExpectedDeadLetter, pointer_bytes: int) -> list[str]:
    """Descriptions of what is wrong with an expected dead letter."""
    timestamp = expected.source.timestamp
    rules = {
        f"its source has the timestamp {letter.timestamp}, not {timestamp}": letter.timestamp == timestamp,
        f"its type is {letter.error_type}, not {expected.error_type}": expected.error_type in ("", letter.error_type),
    }
    if letter.pointer:
        rules |= _check_pointer(letter, letter.pointer, expected, pointer_bytes)
    else:
        rules |= _check_payload(letter, expected)
    return [*letter.faults, *(fault for fault, holds in rules.items() if not holds)]


def _check_payload(letter: FoundDeadLetter, expected: ExpectedDeadLetter) -> dict[str, bool]:
    # A row that ClickHouse would refuse may be in flight when an outage begins.
    classes = {expected.error_class, *(OUTAGE_CLASSES if expected.error_class == "row_refused" else ())}
    same_content = letter.content == expected.content or (
        letter.metric is not None and canonical_number(letter.content) == canonical_number(expected.content)
    )
    source = expected.source
    is_repeated = letter.metric is None or _may_be_repeated(source.key, source.headers)
    return {
        f"its class is {letter.error_class}, not {expected.error_class}": letter.error_class in classes,
        f"{letter.size} bytes should be a pointer": letter.size <= MAX_RECORD_BYTES,
        "its key differs": letter.key == (source.key if is_repeated else None),
        "its headers differ": letter.headers == (source.headers if is_repeated else ()),
        f"it is of {letter.event}, not {expected.event}": letter.event == expected.event,
        f"its bytes differ, or its value is {letter.content[:60]}, not {expected.content[:60]}": same_content,
    }


def _may_be_repeated(key: bytes | None, headers: Headers) -> bool:
    return len(headers) <= _MAX_REPEATED_HEADERS and _size_around(key, headers) <= _MAX_REPEATED_BYTES


def _size_around(key: bytes | None, headers: Headers) -> int:
    return len(key or b"") + sum(len(name) + len(text or b"") for name, text in headers)


def _check_pointer(
    letter: FoundDeadLetter, pointer: Pointer, expected: ExpectedDeadLetter, pointer_bytes: int
) -> dict[str, bool]:
    key = expected.source.key or b""
    around = _size_around(key, expected.source.headers)
    same_bytes = (letter.content, pointer.size) == (expected.content, expected.source.size)
    return {
        f"it points to {pointer.position}": pointer.position == letter.position,
        "its digest or size differs": same_bytes or letter.metric is not None,
        "a pointer has no headers of the source": not letter.headers,
        "a pointer has the key, if it is short": letter.key
        == (expected.source.key if len(key) <= _MAX_KEY_BYTES else None),
        f"{pointer.size} bytes and {around} around them need no pointer": pointer.size + around + _MARGIN_BYTES
        >= pointer_bytes,
    }
