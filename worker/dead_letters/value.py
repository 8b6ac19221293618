"""The value of a dead letter read back: a metric, an event, or the pointer to one."""

import json
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import orjson

from worker.core.errors import WorkerError
from worker.core.model import Event, Record, ReplayedRecord
from worker.dead_letters.letter import DeadLetter, instant
from worker.events.tolerant_json import is_encodable, parse_number


class DamagedLetter(WorkerError):
    """The headers are those of a dead letter, and its value is not what they promise."""


class Pointer(NamedTuple):
    """Size in bytes and SHA-256 of a value that does not fit the topic."""

    size: int
    sha256: str


def event_of(letter: DeadLetter) -> Event:
    """The event of a failed metric, with this metric alone; its record is a `ReplayedRecord`.

    Raises:
        DamagedLetter: the value cannot be read.
    """
    try:
        row = orjson.loads(letter.record.value or b"")
    except orjson.JSONDecodeError as error:
        row = _tolerantly(letter, error)
    try:
        name, agent, user, execution = row["metric_type"], row["agent_name"], row["user_id"], row["execution_id"]
        if not (
            isinstance(name, str)
            and isinstance(agent, str)
            and (user is None or isinstance(user, str))
            and isinstance(execution, str)
        ):
            raise TypeError("a field is no text")
        if not is_encodable(agent + (user or "")):  # of a metric's name the fan-out says so
            raise ValueError("agent_name or user_id holds a lone surrogate, which is not a character")
        return Event(
            _uuid(execution),
            agent,
            user,
            instant(row["completed_at"]),
            instant(row["recorded_at"]),
            {name: parse_number(row["metric_value"])},
            replayed(letter, None),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedLetter(f"the value is no metric: {type(error).__name__}: {error}") from error


def pointer_of(letter: DeadLetter) -> Pointer:
    """Size and digest of what a pointer stands for.

    Raises:
        DamagedLetter: the value cannot be read.
    """
    try:
        value = orjson.loads(letter.record.value or b"")
        return Pointer(int(value["size"]), str(value["sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedLetter(f"the value is no pointer: {type(error).__name__}: {error}") from error


def replayed(letter: DeadLetter, value: bytes | None, found: Record | None = None) -> ReplayedRecord:
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


def agent_of(letter: DeadLetter) -> str | None:
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


def _tolerantly(letter: DeadLetter, refusal: orjson.JSONDecodeError) -> dict[str, object]:
    """A lone surrogate in a name, which orjson refuses and the standard library reads."""
    try:
        row = json.loads(letter.record.value or b"")
    except (ValueError, RecursionError) as error:
        raise DamagedLetter(f"the value is not JSON: {refusal}") from error
    if not isinstance(row, dict):
        raise DamagedLetter("the value is no JSON object")
    return row


@lru_cache(maxsize=1_024)
def _uuid(text: str) -> UUID:
    # The metrics of one event mostly stand one after another.
    if len(text) != 36:
        raise ValueError("execution_id is no UUID")
    return UUID(int=int(text.replace("-", ""), 16))
