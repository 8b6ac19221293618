"""Builders of events, records, and blocks."""

import json
from typing import NamedTuple
from uuid import UUID

from worker.core.model import Event, Row
from worker.events.block import Block
from worker.events.decode import decode

EXECUTION_ID = "0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081"
JANUARY_2026 = 1_767_225_600_000
"""2026-01-01T00:00:00Z in milliseconds."""


class Record(NamedTuple):
    """Implements `worker.core.model.Record`."""

    value: bytes | None
    topic: str = "execution-completed"
    partition: int = 0
    offset: int = 0
    timestamp: int = JANUARY_2026
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def event(**fields: object) -> dict[str, object]:
    """A valid event as a document; `fields` are added or replaced."""
    return {
        "execution_id": EXECUTION_ID,
        "agent_name": "triage",
        "user_id": "u-1",
        "metrics": {"execution_time_ms": 1840, "cost_usd": 0.5},
        "completed_at": "2026-01-01T23:59:59.5Z",
    } | fields


def event_without(*names: str) -> dict[str, object]:
    """A valid event as a document, without the named fields."""
    return {name: value for name, value in event().items() if name not in names}


def encoded(document: object) -> bytes:
    """A document as JSON of the standard library, which writes NaN."""
    return json.dumps(document).encode()


def record(
    document: object,
    *,
    partition: int = 0,
    offset: int = 0,
    timestamp: int = JANUARY_2026,
    key: bytes | None = None,
    headers: tuple[tuple[str, bytes | None], ...] = (),
) -> Record:
    """A record whose value is `document`: bytes and None as they are, anything else as JSON."""
    value = document if isinstance(document, bytes) or document is None else encoded(document)
    return Record(value, partition=partition, offset=offset, timestamp=timestamp, key=key, headers=headers)


def read(document: object, timestamp: int = JANUARY_2026) -> Event:
    """The event that the worker reads from `document`."""
    result = decode(record(document, timestamp=timestamp))
    assert result is not None
    return result


def many_events(count: int) -> list[Event]:
    """Different events of one month, built without JSON because that is faster."""
    return [
        Event(str(UUID(int=number)), "triage", None, JANUARY_2026 + number, JANUARY_2026 + number, {}, Record(None))
        for number in range(count)
    ]


def block_of(events: list[Event], metrics: list[str], month: int = 202601) -> Block:
    """A block with every metric of every event; the values count up from 0."""
    block = Block(month)
    for position, item in enumerate(events):
        first = position * len(metrics)
        block.add_rows(item, tuple(metrics), [float(value) for value in range(first, first + len(metrics))])
    return block


def rows_of(block: Block) -> list[Row]:
    """The rows of a block."""
    return list(block.rows())
