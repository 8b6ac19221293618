"""What a record is owed, by the independent reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import Reading, read_event

if TYPE_CHECKING:
    from tests.fuzz.fuzz_record import FuzzRecord
    from tests.fuzz.sent_records import RecordPosition


class ExpectedResult(NamedTuple):
    """What the contract says of a record; `reading` is None for a tombstone."""

    record: FuzzRecord
    position: RecordPosition
    reading: Reading | None


def expect_result(record: FuzzRecord, position: RecordPosition) -> ExpectedResult:
    """Read a record by the independent reference."""
    if record.unreadable:
        return ExpectedResult(record, position, Reading())
    value = record.value
    return ExpectedResult(
        record, position, None if value is None else read_event(value, record.headers, record.timestamp)
    )
