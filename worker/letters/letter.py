"""A dead letter read back: the inverse of `worker.letters.dead_letter`.

Anybody can write to a topic, and a later version may write what this one does not know. So nothing here trusts a
record: what is no dead letter, or a damaged one, becomes `Foreign` or `DamagedLetter`, and the reader reports it.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from worker.decode import number
from worker.errors import ErrorClass, WorkerError
from worker.letters.dead_letter import KIND, milliseconds
from worker.model import Event, Failure, Place, Record, ReplayedRecord, UnreadableRecord

_CLASSES = {item.value.encode(): item for item in ErrorClass}
_MAX_PARTITION, _MAX_OFFSET = 2**31 - 1, 2**63 - 1


class DamagedLetter(WorkerError):
    """The headers are those of a dead letter, and its value is not what they promise."""


class Foreign(NamedTuple):
    """A record that is no dead letter, and why not."""

    record: Record
    reason: str

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.record.partition, self.record.offset)


class Letter(NamedTuple):
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
    replaces: Place | None
    part_of: Place | None
    worker: str

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.record.partition, self.record.offset)

    @property
    def is_pointer(self) -> bool:
        """Whether the value is at the source, and only its digest here."""
        return self.failure.error_class is ErrorClass.TOO_LARGE

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the Kafka client could not parse the source record, so that nothing but its place is here."""
        return self.kind == "event" and self.failure.error_type == UnreadableRecord.__name__

    @property
    def source_headers(self) -> Sequence[tuple[str, bytes | None]]:
        """The headers of the source record; none where this is a pointer, which leaves them there."""
        headers = self.record.headers
        return tuple(headers[: _added(headers)])


class Pointer(NamedTuple):
    """Size in bytes and SHA-256 of a value that does not fit the topic."""

    size: int
    sha256: str


def read_letter(record: Record) -> Letter | Foreign:
    """Read the headers of a record on the dead-letter topic; never raises, whatever they are."""
    if isinstance(record, UnreadableRecord):
        return Foreign(record, "the Kafka client cannot parse it")
    headers = dict(record.headers)
    if (
        not headers or len(headers) < len(record.headers) or record.headers[0][0] != KIND
    ):  # the producer had headers of its own
        headers = dict(record.headers[_added(record.headers) :])
    try:
        return _letter(record, headers)
    except KeyError as error:
        return Foreign(record, f"it has no header {error.args[0]}")
    except (ValueError, TypeError, AttributeError) as error:
        return Foreign(record, f"a header is not what it should be: {error}")


def _added(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Where the added headers begin: at the last `KIND`. What is before it, whatever its name, is the producer's."""
    for position in range(len(headers) - 1, -1, -1):
        if headers[position][0] == KIND:
            return position
    return len(headers)


def _letter(record: Record, headers: Mapping[str, Any]) -> Letter:
    # A header without a value is an AttributeError or a TypeError here; this is done a million times in a row.
    kind = _KINDS.get(headers[KIND])
    if kind is None:
        raise ValueError(f"{KIND} is neither event nor metric")
    error_class = _CLASSES.get(headers["dlq.error.class"])
    if error_class is None:
        raise ValueError("dlq.error.class is none that this version knows")
    code = headers.get("dlq.error.code")
    of_metric = kind == "metric"
    return Letter(
        record,
        kind,
        Failure(
            error_class,
            _text(headers["dlq.error.type"]),
            headers["dlq.error.message"].decode("utf-8", "replace"),
            None if code is None else _integer(code),
        ),
        _integer(headers["dlq.attempts"]),
        _text(headers["dlq.metric"]) if of_metric else None,
        headers["dlq.execution_id"].decode("utf-8") if of_metric else None,
        _text(headers["dlq.table"]),
        (
            _text(headers["dlq.source.topic"]),
            _within(headers["dlq.source.partition"], _MAX_PARTITION),
            _within(headers["dlq.source.offset"], _MAX_OFFSET),
        ),
        _integer(headers["dlq.source.timestamp"]),
        _instant(headers["dlq.failed_at"].decode("utf-8")),
        _within(headers["dlq.replays"], _MAX_PARTITION),
        _place(headers.get("dlq.replaces")),
        _place(headers.get("dlq.part_of")),
        _text(headers["dlq.worker"]),
    )


_KINDS: dict[bytes | None, str] = {b"event": "event", b"metric": "metric"}


def event_of(letter: Letter) -> Event:
    """The event of a failed metric, with this metric alone; its record is a `ReplayedRecord`.

    Raises:
        DamagedLetter: the value cannot be read.
    """
    try:
        row = orjson.loads(letter.record.value or b"")
    except orjson.JSONDecodeError as error:
        row = _tolerantly(letter, error)
    try:
        name, agent, user = row["metric_type"], row["agent_name"], row["user_id"]
        if not (isinstance(name, str) and isinstance(agent, str) and isinstance(user, str | None)):
            raise TypeError("a field is no text")
        return Event(
            _uuid(row["execution_id"]),
            agent,
            user,
            _instant(row["completed_at"]),
            _instant(row["recorded_at"]),
            {name: number(row["metric_value"])},
            replayed(letter, None),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedLetter(f"the value is no metric: {type(error).__name__}: {error}") from error


def pointer_of(letter: Letter) -> Pointer:
    """Size and digest of what a pointer stands for.

    Raises:
        DamagedLetter: the value cannot be read.
    """
    try:
        value = orjson.loads(letter.record.value or b"")
        return Pointer(int(value["size"]), str(value["sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedLetter(f"the value is no pointer: {type(error).__name__}: {error}") from error


def replayed(letter: Letter, value: bytes | None, found: Record | None = None) -> ReplayedRecord:
    """The source record of `letter`, to be replayed with `value`.

    Args:
        letter: where it comes from.
        value: of an event its bytes.
        found: the source record itself, where it was fetched; it has what the letter leaves out.
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
        letter.place,
        letter.kind == "event",
        letter.part_of,
    )


def agent_of(letter: Letter) -> str | None:
    """The agent's name, as far as the value tells it; even that of an event which cannot be read may."""
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


def _tolerantly(letter: Letter, refusal: orjson.JSONDecodeError) -> dict[str, object]:
    """A lone surrogate in a name, which orjson refuses and the standard library reads."""
    try:
        row = json.loads(letter.record.value or b"")
    except (ValueError, RecursionError) as error:
        raise DamagedLetter(f"the value is not JSON: {refusal}") from error
    if not isinstance(row, dict):
        raise DamagedLetter("the value is no JSON object")
    return row


@lru_cache(maxsize=4_096)
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


def _place(value: bytes | None) -> Place | None:
    if value is None:
        return None
    partition, _, offset = value.partition(b":")
    return Place(_within(partition, _MAX_PARTITION), _within(offset, _MAX_OFFSET))


@lru_cache(maxsize=4_096)
def _instant(text: str) -> int:
    # The metrics of one event say the same instants, and the letters of one outage nearly so.
    return milliseconds(text)


def _uuid(text: object) -> UUID:
    if not isinstance(text, str) or len(text) != 36:
        raise ValueError("execution_id is no UUID")
    return UUID(int=int(text.replace("-", ""), 16))
