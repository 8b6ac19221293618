"""What a record is owed, by the independent reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import Reading, read

if TYPE_CHECKING:
    from tests.fuzz.ledger import Place
    from tests.fuzz.record import Fuzzed


class Owed(NamedTuple):
    """What the contract says of a record; `reading` is None for a tombstone."""

    record: Fuzzed
    place: Place
    reading: Reading | None


def owed(record: Fuzzed, place: Place) -> Owed:
    """Read a record by the independent reference."""
    if record.unreadable:
        return Owed(record, place, Reading())
    value = record.value
    return Owed(record, place, None if value is None else read(value, record.headers, record.timestamp))
