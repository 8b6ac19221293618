"""The dead letter as a Kafka record: `schemas/dead_letter.schema.json` describes it, this module encodes and parses it.

The value is in `worker.dead_letters.value`. The added headers follow those of the source record, and `dlq.kind` is the
first of them. A reader takes the last `dlq.kind` and what follows, so that headers of a producer cannot imitate ours.

CONTRIBUTING.md, "Add an error class", lists the places that a new `ErrorClass` needs.
"""

from worker.core.errors import ErrorClass
from worker.core.model import Failed, Headers, Record, ReplayedRecord, UnreadableRecord
from worker.dead_letters.dead_letter import DeadLetter, EncodedDeadLetter, ForeignRecord, WorkerInfo
from worker.dead_letters.headers import KIND, REPLACES, WORKER, encode_headers, parse_headers
from worker.dead_letters.value import encode_pointer_value, encode_value

_MAX_POINTER_KEY = 1_024
"""Bytes."""
_MAX_REPEATED_BYTES, _MAX_REPEATED_HEADERS = 16_384, 100
"""Of key and headers that the dead letter of each metric repeats: a thousand metrics of one record can fail."""

_LAST_HEADERS = 8
"""`dlq.replaces` is among these; what follows is `dlq.part_of`, and a trace context or what a mirror adds."""


def encode_dead_letter(failed: Failed, worker: WorkerInfo, failed_at: int) -> EncodedDeadLetter:
    """Encode a failed metric or event. `failed_at` is in milliseconds since 1970.

    Key and headers of the source record are left out for a metric if they are larger than 16,384 bytes together, or if
    there are more than 100 headers.
    """
    record = failed.record
    added = encode_headers(failed, record, worker, failed_at)
    if failed.metric is not None and not _may_repeat_surroundings(record):
        return EncodedDeadLetter(None, encode_value(failed), added, failed_at)
    return EncodedDeadLetter(record.key, encode_value(failed), [*record.headers, *added], failed_at)


def encode_pointer(failed: Failed, worker: WorkerInfo, failed_at: int) -> EncodedDeadLetter:
    """Encode a dead letter that does not fit the topic: only the position of the source record, and a digest.

    The class becomes `too_large`; the original class and message are in the message. The headers of the source record,
    and its key if it is longer than 1,024 bytes, are left out. An edited event is in no source record, so its pointer
    does not replace the dead letter that has the original: an operator can restore that.
    """
    record, failure = failed.record, failed.failure
    message = f"the dead letter does not fit the topic; it failed as {failure.error_class.value}: {failure.message}"
    pointed = failed._replace(failure=failure._replace(error_class=ErrorClass.TOO_LARGE, message=message))
    key = record.key if record.key is None or len(record.key) <= _MAX_POINTER_KEY else None
    headers = encode_headers(pointed, record, worker, failed_at)
    if isinstance(record, ReplayedRecord) and record.edit is not None:
        headers = [header for header in headers if header[0] != REPLACES]
    return EncodedDeadLetter(key, encode_pointer_value(failed), headers, failed_at)


def parse_dead_letter(record: Record) -> DeadLetter | ForeignRecord:
    """Parse the headers of a record on the dead-letter topic; never raises. The value is not parsed.

    Anybody can write to a topic, and a later version may write what this one does not know.
    """
    if isinstance(record, UnreadableRecord):
        return ForeignRecord(record, record.reason)
    start, headers = 0, dict(record.headers)
    if not headers or record.headers[0][0] != KIND or len(headers) < len(record.headers):
        # The source record had headers of its own.
        start = _find_added_headers(record.headers)
        headers = dict(record.headers[start:])
    try:
        return parse_headers(record, headers, record.headers[:start])
    except KeyError as error:
        return ForeignRecord(record, f"it has no header {error.args[0]}")
    except (ValueError, TypeError, AttributeError) as error:
        return ForeignRecord(record, f"a header is invalid: {error}")


def has_predecessor(record: Record) -> bool:
    """Whether `record` names the dead letter that it replaces; fast, because a scan asks it of every record."""
    headers = record.headers
    if not headers or headers[-1][0] == WORKER:  # as most: `dlq.replaces` comes after it
        return False
    for name, _ in headers[-_LAST_HEADERS:]:  # noqa: SIM110 - `any` takes three times as long
        if name == REPLACES:
            return True
    return False


def _may_repeat_surroundings(record: Record) -> bool:
    """Whether the dead letter of a metric may repeat key and headers."""
    if len(record.headers) > _MAX_REPEATED_HEADERS:  # first, because even to count 400,000 headers takes long
        return False
    size = len(record.key or b"") + sum(len(name) + len(value or b"") for name, value in record.headers)
    return size <= _MAX_REPEATED_BYTES


def _find_added_headers(headers: Headers) -> int:
    """Return the index of the last `dlq.kind`; what is before it, whatever its name, is the producer's."""
    start = len(headers)
    for name, _ in reversed(headers):
        start -= 1
        if name == KIND:
            return start
    return len(headers)
