"""The settlement: a record on the dead-letter topic that says what became of dead letters before it, and who did it.

It is in the partition of the dead letters that it names, so that retention deletes it after them. Nothing else keeps
the progress of replays. `schemas/settlement.schema.json` describes it; this module encodes and parses it.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from worker.core.errors import WorkerError
from worker.core.model import MAX_EXPRESSION_LENGTH, Record, UnreadableRecord
from worker.core.times import format_rfc3339, parse_rfc3339
from worker.dead_letters.dead_letter import EncodedDeadLetter
from worker.dead_letters.headers import KIND

_KIND = (KIND, b"settlement")
MAX_TEXT = 1_000
"""Characters of who, why and the command; anybody can write to the topic, and a scan keeps those of each operation."""
_MAX_OUTCOMES, _MAX_NAME = 16, 64
"""Counts of an outcome, and characters of a name of one."""
UNIDENTIFIED = 0
"""What identifies a record that cannot be read: nothing does."""


class Action(StrEnum):
    """What became of dead letters."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"
    EDITED = "edited"
    REOPENED = "reopened"


class OffsetRun(NamedTuple):
    """Offsets of one partition without a gap; `identity` is that of the record at `last`."""

    first: int
    last: int
    identity: int


class Settlement(NamedTuple):
    """One entry of the journal: a part of an operation, which is one call of a command.

    Attributes:
        operation: the same for all entries of an operation.
        by: the user and the host.
        at: milliseconds since 1970.
        why: the reason that the operator gave.
        command: the command line, with the options that selected the dead letters.
        runs: the dead letters; none in the first entry, which is written before anything else happens, and in the last.
        outcome: counts by name, only in the last entry.
        edit: the expression that was applied to the events before they were replayed; None for other actions.
    """

    action: Action
    operation: str
    by: str
    at: int
    why: str | None
    command: str
    runs: tuple[OffsetRun, ...] = ()
    outcome: Mapping[str, int] | None = None
    edit: str | None = None


Settled = Settlement | bool
"""What has settled a dead letter; True if only another one has replaced it, False if it is open."""


class InvalidSettlement(WorkerError):
    """The record has the headers of a settlement, but its value is not one."""


def identify(record: Record) -> int:
    """A number by which a record is recognised: another one at the same offset has another number.

    So a settlement is not believed in a copy of the topic whose offsets differ.
    """
    if isinstance(record, UnreadableRecord):
        return UNIDENTIFIED
    return crc32(record.value or b"", record.timestamp & 0xFFFF_FFFF) or 1


def join_runs(letters: Iterable[tuple[int, int]]) -> Iterator[OffsetRun]:
    """Join the offsets and identities of records, in the order of the topic, to runs."""
    run: OffsetRun | None = None
    for offset, identity in letters:
        if run is not None and offset == run.last + 1:
            run = OffsetRun(run.first, offset, identity)
            continue
        if run is not None:
            yield run
        run = OffsetRun(offset, offset, identity)
    if run is not None:
        yield run


def is_settlement(record: Record) -> bool:
    """Whether `record` is a settlement; its value may be invalid."""
    headers = record.headers
    if not headers or headers[0] != _KIND:  # first, because a scan asks it of every record
        return False
    # A dead letter has no key either where its source record has none, and repeats the headers of that before its own.
    return record.key is None and not any(name == KIND for name, _ in headers[1:])


def encode_settlement(settlement: Settlement, version: str) -> EncodedDeadLetter:
    """Encode a settlement, written by this version of the worker."""
    value = {
        "action": settlement.action,
        "operation": settlement.operation,
        "by": _shorten(settlement.by),
        "at": format_rfc3339(settlement.at),
        "why": None if settlement.why is None else _shorten(settlement.why),
        "command": _shorten(settlement.command),
        "runs": [tuple(run) for run in settlement.runs],
        "outcome": settlement.outcome,
        "edit": settlement.edit,
    }
    headers = (_KIND, ("dlq.worker", version.encode()))
    return EncodedDeadLetter(None, orjson.dumps(value), headers, settlement.at)


def parse_settlement(record: Record) -> Settlement:
    """Parse the value of a settlement. Raises InvalidSettlement if it is not valid."""
    try:
        value: Any = orjson.loads(record.value or b"")
        outcome = value["outcome"]
        return Settlement(
            Action(value["action"]),
            _parse_text(value["operation"], _MAX_NAME),
            _parse_text(value["by"]),
            parse_rfc3339(value["at"]),
            None if value["why"] is None else _parse_text(value["why"]),
            _parse_text(value["command"]),
            tuple(_parse_run(*run) for run in value["runs"]),
            None if outcome is None else _parse_outcome(outcome),
            None if value["edit"] is None else _parse_text(value["edit"], MAX_EXPRESSION_LENGTH),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidSettlement(f"it is no settlement: {type(error).__name__}: {error}") from error


def find_settlement(record: Record) -> Settlement | None:
    """The settlement that `record` is; None if it is none, or this version cannot read it: then it is foreign."""
    if not is_settlement(record):
        return None
    try:
        return parse_settlement(record)
    except InvalidSettlement:
        return None


def _parse_run(first: int, last: int, identity: int) -> OffsetRun:
    if not 0 <= first <= last or not isinstance(identity, int):
        raise ValueError(f"{first} to {last} is no run of offsets")
    return OffsetRun(int(first), int(last), identity)


def _parse_outcome(outcome: Mapping[str, int]) -> dict[str, int]:
    some = islice(outcome.items(), _MAX_OUTCOMES)
    return {name[:_MAX_NAME]: int(count) for name, count in some}


def _parse_text(value: object, longest: int = MAX_TEXT) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!a:.40} is not text")
    return value[:longest]


def _shorten(text: str) -> str:
    """At most `MAX_TEXT` characters; a lone surrogate, which UTF-8 cannot encode, is escaped."""
    return text[:MAX_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_TEXT]
