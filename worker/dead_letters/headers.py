"""The headers of a dead letter, encoded and parsed; `schemas/dead_letter.schema.json` describes each of them."""

from collections.abc import Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from worker.core.errors import ErrorClass
from worker.core.model import (
    DeadLetterKind,
    DeadLetterPosition,
    Failed,
    FailedMetric,
    Failure,
    Headers,
    Record,
    ReplayedRecord,
)
from worker.core.times import format_rfc3339, parse_rfc3339
from worker.dead_letters.dead_letter import DeadLetter, WorkerInfo
from worker.dead_letters.edit_headers import encode_edit, parse_edit
from worker.dead_letters.header_values import (
    MAX_INT32,
    MAX_INT64,
    parse_integer,
    parse_natural,
    parse_position,
    parse_text,
)

KIND = "dlq.kind"
"""The first header."""
WORKER = "dlq.worker"
"""The last header, but for those of a dead letter that was replayed."""
REPLACES = "dlq.replaces"
MAX_MESSAGE_LENGTH = 2_000
"""Characters of an error message; ClickHouse's can quote the whole statement."""
MAX_METRIC_HEADER = 256
"""Characters of the metric name in the header. Every valid name fits; the value contains longer ones completely."""
_new = tuple.__new__
"""Makes a named tuple in half the time of its class."""
_KINDS: Mapping[bytes, DeadLetterKind] = {b"event": "event", b"metric": "metric"}
_CLASSES = {item.value.encode(): item for item in ErrorClass}


def format_metric_header(name: str) -> str:
    """Return the header of a metric name: cut, and a lone surrogate, which UTF-8 cannot encode, escaped."""
    return name[:MAX_METRIC_HEADER].encode("utf-8", "backslashreplace").decode("utf-8")


def encode_headers(
    failed: Failed, record: Record, worker: WorkerInfo, failed_at: int
) -> list[tuple[str, bytes | None]]:
    """Encode the failure of `record` or of one of its metrics; `failed_at` is in milliseconds since 1970."""
    failure = failed.failure
    metric = failed if isinstance(failed, FailedMetric) else None
    replayed = record if isinstance(record, ReplayedRecord) else None
    # A replayed event can fail as several metrics, so that none of these replaces the dead letter of the event.
    is_part = metric is not None and replayed is not None and replayed.whole
    fields = {
        KIND: failed.kind,
        "dlq.error.class": failure.error_class.value,
        "dlq.error.type": failure.error_type,
        "dlq.error.code": failure.code,
        "dlq.error.message": failure.message[:MAX_MESSAGE_LENGTH],
        "dlq.attempts": (replayed.attempts if replayed else 0) + (metric.attempts if metric else 0),
        "dlq.metric": format_metric_header(metric.metric) if metric else None,
        "dlq.execution_id": metric.event.execution_id if metric else None,
        "dlq.isolated": "false" if metric and not failure.isolated else None,
        "dlq.table": worker.table,
        "dlq.source.topic": record.topic,
        "dlq.source.partition": record.partition,
        "dlq.source.offset": record.offset,
        "dlq.source.timestamp": record.timestamp,
        "dlq.failed_at": format_rfc3339(failed_at),
        "dlq.replays": replayed.replays if replayed else 0,
        WORKER: worker.version,
        **encode_edit(replayed.edit if replayed else None),
        "dlq.replaces_metric": replayed.replaced_metric if replayed and not is_part else None,
        REPLACES: replayed.replaces if replayed and not is_part else None,
        "dlq.part_of": (replayed.replaces if is_part else replayed.part_of) if replayed else None,
    }
    # A message can quote a lone surrogate, which UTF-8 cannot encode.
    return [
        (name, str(value).encode("utf-8", "backslashreplace")) for name, value in fields.items() if value is not None
    ]


def parse_headers(record: Record, headers: Mapping[str, Any], source_headers: Headers) -> DeadLetter:
    """Parse the added headers of `record`. It is fast, because a replay parses millions of records.

    Raises:
        KeyError: a header is missing.
        ValueError, TypeError, AttributeError: a header is invalid, or has no value.
    """
    get = headers.get
    is_event = headers[KIND] == b"event"
    kind, error_class, error_type, code, attempts, metric, table, topic, partition, replays, version = (
        _parse_shared_headers(
            *_read_shared_headers(headers),
            get("dlq.error.code"),
            None if is_event else get("dlq.metric"),  # else the cache would keep any bytes
        )
    )
    message = headers["dlq.error.message"].decode("utf-8", "replace")
    offset, timestamp = parse_natural(headers["dlq.source.offset"], MAX_INT64), headers["dlq.source.timestamp"]
    replaces, part_of, replaced_metric = get(REPLACES), get("dlq.part_of"), get("dlq.replaces_metric")
    return _new(
        DeadLetter,
        (
            record,
            kind,
            _new(Failure, (error_class, error_type, message, code, get("dlq.isolated") != b"false")),
            attempts,
            metric,
            None if is_event else headers["dlq.execution_id"].decode("utf-8"),
            table,
            (topic, partition, offset),
            parse_integer(timestamp),
            parse_rfc3339(headers["dlq.failed_at"].decode("utf-8")),
            replays,
            None if replaces is None else parse_position(replaces),
            None if part_of is None else parse_position(part_of),
            version,
            _new(DeadLetterPosition, (record.partition, record.offset)),
            source_headers,
            parse_edit(headers),
            None if replaced_metric is None else parse_text(replaced_metric),
        ),
    )


class _SharedHeaders(NamedTuple):
    """Headers that the dead letters of one outage have in common."""

    kind: DeadLetterKind
    error_class: ErrorClass
    error_type: str
    code: int | None
    attempts: int
    metric: str | None
    table: str
    topic: str
    partition: int
    replays: int
    worker_version: str


_read_shared_headers = itemgetter(
    KIND,
    "dlq.error.class",
    "dlq.error.type",
    "dlq.attempts",
    "dlq.table",
    "dlq.source.topic",
    "dlq.source.partition",
    "dlq.replays",
    WORKER,
)


@lru_cache(maxsize=1_024)
def _parse_shared_headers(
    kind: bytes,
    error_class: bytes,
    error_type: bytes,
    attempts: bytes,
    table: bytes,
    topic: bytes,
    partition: bytes,
    replays: bytes,
    worker: bytes,
    code: bytes | None,
    metric: bytes | None,
) -> _SharedHeaders:
    if kind not in _KINDS:
        raise ValueError(f"{KIND} is neither event nor metric")
    if error_class not in _CLASSES:
        raise ValueError("dlq.error.class is unknown to this version")
    if kind == b"event":
        metric = None
    elif metric is None:
        raise KeyError("dlq.metric")
    return _SharedHeaders(
        _KINDS[kind],
        _CLASSES[error_class],
        parse_text(error_type),
        None if code is None else parse_integer(code),
        parse_integer(attempts),
        None if metric is None else parse_text(metric),
        parse_text(table),
        parse_text(topic),
        parse_natural(partition, MAX_INT32),
        parse_natural(replays, MAX_INT32),
        parse_text(worker),
    )
