"""Converts what the worker reads into a `Reading`, so that it can be compared with the independent reference."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deploy.local.demo.reference import Reading
from deploy.local.demo.reference_fields import canonical_number
from worker.core.model import FailedEvent, FailedMetric, Record
from worker.dead_letters.value import format_number
from worker.events.decode import EventPolicy, decode
from worker.events.fan_out import FanOut

_DAY = 86_400_000


LABEL_ATTRIBUTES = ("source", "traceparent")
"""The attributes of CloudEvents that are read as labels, to be compared."""
_POLICY = EventPolicy(cloudevent_labels=LABEL_ATTRIBUTES)


def read_with_worker(record: Record) -> Reading:
    """Decode and fan out a record that is no tombstone.

    Raises:
        ValueError: a metric is there twice or not at all, or a row has the fields of another event.
    """
    fan_out = FanOut(_POLICY)
    fan_out.add_record(record)
    if not fan_out.events:
        if len(fan_out.failed) != 1 or not isinstance(fan_out.failed[0], FailedEvent):
            raise ValueError(f"an invalid event must be one failed event, not {fan_out.failed}")
        return Reading()
    event = decode(record, _POLICY)
    if event is None:
        raise ValueError("an event and a tombstone at once")
    owner = event.execution_id, event.agent_name, event.completed_at // _DAY
    reading = Reading(
        owner, event.user_id, event.labels, event.completed_at, event.recorded_at,
        skipped=fan_out.skipped, skipped_labels=fan_out.skipped_labels.by_reason(),
    )  # fmt: skip
    for block in fan_out.blocks.values():
        for row in block.rows():
            if (row.event[:5], row.event.labels) != (event[:5], event.labels) or block.month != _month(
                event.completed_at
            ):
                raise ValueError(f"{row.metric!r} is a row of another event, or in the block of another month")
            reading.rows[row.metric] = float(row.value)
    for failed in fan_out.failed:
        if not isinstance(failed, FailedMetric):
            raise ValueError("an event that was read failed as a whole too")  # noqa: TRY004 - no type is wrong
        reading.refused[failed.metric] = (failed.failure.error_class.value, format_number(failed.value))
    if reading.metrics != len(event.metrics) or len(fan_out) != len(reading.rows) + len(reading.refused):
        raise ValueError("a metric is in two results, or in none")
    return reading


def _month(milliseconds: int) -> int:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return at.year * 100 + at.month


def comparable(reading: Reading) -> Reading:
    """A reading with numbers in a canonical form."""
    refused = {name: (error_class, canonical_number(text)) for name, (error_class, text) in reading.refused.items()}
    return replace(reading, refused=refused)
