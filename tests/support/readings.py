"""What the worker makes of a record, in the terms of the independent reference, so that the two can be compared."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from deploy.local.demo.reference import Reading
from worker.core.model import FailedEvent, FailedMetric
from worker.dead_letters.dead_letter import number_text
from worker.events.decode import decode
from worker.events.fan_out import FanOut

if TYPE_CHECKING:
    from worker.core.model import Record

_DAY = 86_400_000
_INTEGER = re.compile(r"-?[0-9]{1,20}")


def read_with_worker(record: Record) -> Reading:
    """What `FanOut` makes of a record that is no tombstone, before any table has a say.

    Raises:
        ValueError: something of it is there twice, or the books of the `FanOut` itself do not balance.
    """
    fanned = FanOut()
    fanned.add_record(record)
    if not fanned.events:
        if len(fanned.failed) != 1 or not isinstance(fanned.failed[0], FailedEvent):
            raise ValueError(f"what is no event is one failed event, not {fanned.failed}")
        return Reading()
    event = decode(record)
    if event is None:
        raise ValueError("an event and a tombstone at once")
    owner = str(event.execution_id), event.agent_name, event.completed_at // _DAY
    reading = Reading(owner, event.user_id, event.completed_at, event.recorded_at, skipped=fanned.skipped)
    for block in fanned.blocks.values():
        for row in block.rows():
            if row.event[:5] != event[:5] or block.month != _month(event.completed_at):
                raise ValueError(f"{row.metric!r} is a row of another event, or in the block of another month")
            reading.rows[row.metric] = float(row.value)
    for failed in fanned.failed:
        if not isinstance(failed, FailedMetric):
            raise ValueError("an event that was read failed as a whole too")  # noqa: TRY004 - no type is wrong
        reading.refused[failed.metric] = (failed.failure.error_class.value, number_text(failed.value))
    if reading.metrics != len(event.metrics) or len(fanned) != len(reading.rows) + len(reading.refused):
        raise ValueError("a metric is in two places, or in none")
    return reading


def _month(milliseconds: int) -> int:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return at.year * 100 + at.month


def comparable(reading: Reading) -> Reading:
    """A reading in which the same number is written in the same way."""
    return replace(
        reading,
        refused={name: (error_class, _number(literal)) for name, (error_class, literal) in reading.refused.items()},
    )


def _number(literal: str) -> str:
    """A literal as Python writes the number: exact with 64 bits, else a float; what none can hold stays as it is."""
    if literal in ("true", "false"):
        return literal
    if _INTEGER.fullmatch(literal) and -(2**63) <= (number := int(literal)) < 2**64:
        return str(number)
    return repr(float(literal)) if math.isfinite(float(literal)) else literal
