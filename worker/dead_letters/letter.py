"""The headers of a dead letter read back: the inverse of `worker.dead_letters.dead_letter`.

Anybody can write to a topic, and a later version may write what this one does not know. So nothing here trusts a
record: what is no dead letter becomes `ForeignRecord`, and the reader reports it. Its value is read in
`worker.dead_letters.value`, when it is needed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from worker.core.errors import ErrorClass
from worker.core.model import Failure, Record, RecordPosition, UnreadableRecord
from worker.dead_letters.dead_letter import ISOLATED, KIND, milliseconds

_CLASSES = {item.value.encode(): item for item in ErrorClass}
_MAX_PARTITION, _MAX_OFFSET = 2**31 - 1, 2**63 - 1


class ForeignRecord(NamedTuple):
    """A record that is no dead letter, and why not."""

    record: Record
    reason: str

    @property
    def place(self) -> RecordPosition:
        """Where it stands."""
        return RecordPosition(self.record.partition, self.record.offset)


class DeadLetter(NamedTuple):
    """A dead letter. Times are milliseconds since 1970.

    Attributes:
        record: the record on the dead-letter topic.
        kind: `event` or `metric`.
        failure: the last one.
        attempts: inserts that held the metric, over all replays.
        metric: its name, as far as the header has it; None for an event.
        source: topic, partition and offset of the source record.
        source_timestamp: of the source record; -1 where it had none.
        replays: how often it was replayed before.
        replaces: the dead letter in whose place it stands.
        part_of: the dead letter of an event, of which it is one metric.
        place: where it stands.
        source_headers: of the source record; none where this is a pointer, which leaves them there.
    """

    record: Record
    kind: str
    failure: Failure
    attempts: int
    metric: str | None
    execution_id: str | None
    table: str
    source: tuple[str, int, int]
    source_timestamp: int
    failed_at: int
    replays: int
    replaces: RecordPosition | None
    part_of: RecordPosition | None
    worker: str
    place: RecordPosition
    source_headers: Sequence[tuple[str, bytes | None]]

    @property
    def is_at_source(self) -> bool:
        """Whether its contents have to be fetched from there."""
        return self.is_pointer or self.is_out_of_reach

    @property
    def is_pointer(self) -> bool:
        """Whether the value is at the source, and only its digest here."""
        return self.failure.error_class is ErrorClass.TOO_LARGE

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the Kafka client could not parse the source record, so that nothing but its place is here."""
        return self.kind == "event" and self.failure.error_type == UnreadableRecord.__name__


def read_letter(record: Record) -> DeadLetter | ForeignRecord:
    """Read the headers of a record on the dead-letter topic; never raises, whatever they are."""
    if isinstance(record, UnreadableRecord):
        return ForeignRecord(record, "the Kafka client cannot parse it")
    headers = dict(record.headers)
    of_source: Sequence[tuple[str, bytes | None]] = ()
    if not headers or len(headers) < len(record.headers) or record.headers[0][0] != KIND:
        # The producer had headers of its own.
        position = _added(record.headers)
        of_source, headers = tuple(record.headers[:position]), dict(record.headers[position:])
    try:
        return _letter(record, headers, of_source)
    except KeyError as error:
        return ForeignRecord(record, f"it has no header {error.args[0]}")
    except (ValueError, TypeError, AttributeError) as error:
        return ForeignRecord(record, f"a header is not what it should be: {error}")


def _added(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Where the added headers begin: at the last `KIND`. What is before it, whatever its name, is the producer's."""
    for position in range(len(headers) - 1, -1, -1):
        if headers[position][0] == KIND:
            return position
    return len(headers)


def _letter(record: Record, headers: Mapping[str, Any], of_source: Sequence[tuple[str, bytes | None]]) -> DeadLetter:
    # A header without a value is an AttributeError or a TypeError here; this is done a million times in a row.
    common = _common(
        headers[KIND],
        headers["dlq.error.class"],
        headers["dlq.error.type"],
        headers.get("dlq.error.code"),
        headers["dlq.attempts"],
        headers.get("dlq.metric"),
        headers["dlq.table"],
        headers["dlq.source.topic"],
        headers["dlq.source.partition"],
        headers["dlq.replays"],
        headers["dlq.worker"],
    )
    return DeadLetter(
        record,
        common.kind,
        Failure(
            common.error_class,
            common.error_type,
            headers["dlq.error.message"].decode("utf-8", "replace"),
            common.code,
            headers.get(ISOLATED) != b"false",
        ),
        common.attempts,
        common.metric,
        headers["dlq.execution_id"].decode("utf-8") if common.kind == "metric" else None,
        common.table,
        (common.topic, common.partition, _within(headers["dlq.source.offset"], _MAX_OFFSET)),
        _integer(headers["dlq.source.timestamp"]),
        _instant_of(headers["dlq.failed_at"]),
        common.replays,
        None if (replaces := headers.get("dlq.replaces")) is None else _place(replaces),
        None if (part_of := headers.get("dlq.part_of")) is None else _place(part_of),
        common.worker,
        RecordPosition(record.partition, record.offset),
        of_source,
    )


class _Common(NamedTuple):
    """What the letters of one outage have in common."""

    kind: str
    error_class: ErrorClass
    error_type: str
    code: int | None
    attempts: int
    metric: str | None
    table: str
    topic: str
    partition: int
    replays: int
    worker: str


@lru_cache(maxsize=1_024)
def _common(
    kind: bytes,
    error_class: bytes,
    error_type: bytes,
    code: bytes | None,
    attempts: bytes,
    metric: bytes,
    table: bytes,
    topic: bytes,
    partition: bytes,
    replays: bytes,
    worker: bytes,
) -> _Common:
    of_kind, of_class = _KINDS.get(kind), _CLASSES.get(error_class)
    if of_kind is None:
        raise ValueError(f"{KIND} is neither event nor metric")
    if of_class is None:
        raise ValueError("dlq.error.class is none that this version knows")
    if of_kind == "metric" and metric is None:
        raise KeyError("dlq.metric")
    return _Common(
        of_kind,
        of_class,
        _text(error_type),
        None if code is None else _integer(code),
        _integer(attempts),
        _text(metric) if of_kind == "metric" else None,
        _text(table),
        _text(topic),
        _within(partition, _MAX_PARTITION),
        _within(replays, _MAX_PARTITION),
        _text(worker),
    )


_KINDS: dict[bytes | None, str] = {b"event": "event", b"metric": "metric"}


def _text(value: bytes) -> str:
    return value[:_MAX_TEXT].decode("utf-8")


_MAX_TEXT = 4_096
"""Bytes: what is kept is bounded, whatever somebody puts into a header."""


def _integer(value: bytes) -> int:
    if len(value) > _MAX_DIGITS:
        raise ValueError(f"{value[:40]!r} is no whole number")
    return int(value)


_MAX_DIGITS = 20


def _within(value: bytes, largest: int) -> int:
    found = _integer(value)
    if not 0 <= found <= largest:
        raise ValueError(f"{found} is out of bounds")
    return found


def _place(value: bytes) -> RecordPosition:
    partition, _, offset = value.partition(b":")
    return RecordPosition(_within(partition, _MAX_PARTITION), _within(offset, _MAX_OFFSET))


@lru_cache(maxsize=4_096)
def instant(text: str) -> int:
    """The milliseconds since 1970 that `rfc3339` has written.

    Raises:
        ValueError: it has not.
    """
    # The metrics of one event say the same instants, and the letters of one outage nearly so.
    return milliseconds(text)


@lru_cache(maxsize=4_096)
def _instant_of(value: bytes) -> int:
    return instant(value.decode("utf-8"))
