"""A dead letter as a Kafka record, by the contract in `schemas/dead_letter.schema.json`.

It keeps the original losslessly, where it came from, why it failed and how often it was tried. What does not fit the
topic becomes a pointer: the coordinates of its source and a digest in place of the payload.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Record, ReplayedRecord, Unrepresentable

MAX_MESSAGE = 2_000
"""Characters of an error message that are kept; ClickHouse's can quote the whole statement."""
_MAX_POINTER_KEY = 1_024
MAX_METRIC = 256
"""Characters of a metric's name in the header. A sound name fits; the value has the whole of any other."""

KIND = "dlq.kind"
"""The first of the added headers."""
ISOLATED = "dlq.isolated"

Headers = Sequence[tuple[str, bytes | None]]


class EncodedDeadLetter(NamedTuple):
    """The parts of a Kafka record; `timestamp` is the time of failure in milliseconds."""

    key: bytes | None
    value: bytes
    headers: Headers
    timestamp: int


class WorkerInfo(NamedTuple):
    """What is the same for every dead letter of a worker: its version, and the table that it writes."""

    worker: str
    table: str


def dead_letter(failed: Failed, head: WorkerInfo, failed_at: int) -> EncodedDeadLetter:
    """Write the dead letter of a failed metric or event. `failed_at` is in milliseconds since 1970."""
    record = failed.record if isinstance(failed, FailedEvent) else failed.event.record
    return EncodedDeadLetter(
        record.key,
        payload(failed),
        [*record.headers, *_headers(failed, record, head, failed_at)],
        failed_at,
    )


def pointer(failed: Failed, head: WorkerInfo, failed_at: int) -> EncodedDeadLetter:
    """Write the dead letter of something that does not fit: where it is, and the digest of what would stand here.

    The class becomes `too_large`; the first class and its message go into the message. The original headers, and a key
    of more than 1,024 bytes, stay at the source.
    """
    record = failed.record if isinstance(failed, FailedEvent) else failed.event.record
    full = payload(failed)
    value = {
        "source_topic": record.topic,
        "source_partition": record.partition,
        "source_offset": record.offset,
        "size": len(full),
        "sha256": sha256(full).hexdigest(),
    }
    why = failed.failure
    message = f"the dead letter does not fit the topic; it failed as {why.error_class.value}: {why.message}"
    failed = failed._replace(failure=why._replace(error_class=ErrorClass.TOO_LARGE, message=message))
    key = record.key if record.key is None or len(record.key) <= _MAX_POINTER_KEY else None
    return EncodedDeadLetter(key, _json(value), _headers(failed, record, head, failed_at), failed_at)


def payload(failed: Failed) -> bytes:
    """The value: of an event its bytes as they were, of a metric the fields of its row."""
    if isinstance(failed, FailedEvent):
        return failed.record.value or b""
    event, record = failed.event, failed.event.record
    return _json(
        {
            "execution_id": str(event.execution_id),
            "agent_name": event.agent_name,
            "user_id": event.user_id,
            "metric_type": failed.metric,
            "metric_value": number_text(failed.value),
            "completed_at": rfc3339(event.completed_at),
            "recorded_at": rfc3339(event.recorded_at),
            "source_topic": record.topic,
            "source_partition": record.partition,
            "source_offset": record.offset,
        }
    )


def metric_header(name: str) -> str:
    """The name of a metric as the header has it: a lone surrogate, which the value can escape, cannot stand there."""
    return name[:MAX_METRIC].encode("utf-8", "backslashreplace").decode("utf-8")


def number_text(value: float | Unrepresentable) -> str:
    """A number as text that reads back as the same number; JSON's own numbers cannot say NaN."""
    if isinstance(value, Unrepresentable):
        return value.literal
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def rfc3339(milliseconds: int) -> str:
    """An instant in UTC, to the millisecond."""
    seconds, rest = divmod(milliseconds, 1_000)
    # Not by strftime, which leaves out the noughts before a year of three digits.
    return f"{(_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()}.{rest:03}Z"


def milliseconds(text: str) -> int:
    """The instant that `rfc3339` has written.

    Raises:
        ValueError: it has not.
    """
    if not _INSTANT.fullmatch(text):
        raise ValueError(f"{text[:40]!a} is no instant")
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def _headers(failed: Failed, record: Record, head: WorkerInfo, failed_at: int) -> list[tuple[str, bytes | None]]:
    """The added headers, `KIND` first: readers take what follows the last one, so that a producer's own cannot lie."""
    error = failed.failure
    fields: dict[str, str] = {
        KIND: "event" if isinstance(failed, FailedEvent) else "metric",
        "dlq.error.class": error.error_class.value,
        "dlq.error.type": error.error_type,
    }
    if error.code is not None:
        fields["dlq.error.code"] = str(error.code)
    fields["dlq.error.message"] = error.message[:MAX_MESSAGE]
    if isinstance(failed, FailedMetric):
        fields["dlq.attempts"] = str(failed.attempts)
        fields["dlq.metric"] = metric_header(failed.metric)
        fields["dlq.execution_id"] = str(failed.event.execution_id)
        if not error.isolated:
            fields[ISOLATED] = "false"
    else:
        fields["dlq.attempts"] = "0"
    fields |= {
        "dlq.table": head.table,
        "dlq.source.topic": record.topic,
        "dlq.source.partition": str(record.partition),
        "dlq.source.offset": str(record.offset),
        "dlq.source.timestamp": str(record.timestamp),
        "dlq.failed_at": rfc3339(failed_at),
        "dlq.replays": "0",
        "dlq.worker": head.worker,
    }
    if isinstance(record, ReplayedRecord):
        # In place of what the letter before it said, so that headers do not grow with replays.
        fields["dlq.replays"] = str(record.replays)
        fields["dlq.attempts"] = str(record.attempts + int(fields["dlq.attempts"]))
        divided = record.whole and isinstance(failed, FailedMetric)
        if not divided:
            fields["dlq.replaces"] = str(record.replaces)
        if part_of := record.replaces if divided else record.part_of:
            fields["dlq.part_of"] = str(part_of)
    # What is quoted in a message may hold a lone surrogate; a header must be UTF-8.
    return [(name, text.encode("utf-8", "backslashreplace")) for name, text in fields.items()]


def _json(value: dict[str, object]) -> bytes:
    # ASCII, because the name of a metric may hold a lone surrogate, which only an escape can carry.
    return json.dumps(value, separators=(",", ":")).encode("ascii")
