"""The demo's reading of the contract and the worker's: written apart, and of one mind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.demo.reference import Reading, read
from tests.support.events import JANUARY_2026, encoded, event, event_without, record
from tests.support.strategies import any_values, documents, spoilt_documents
from worker.fanout import FanOut
from worker.model import FailedMetric

_DAY = 86_400_000


def as_the_worker_reads(value: bytes) -> Reading:
    """What the worker makes of a record, before any table has a say; only rows tell whose they are."""
    fanned = FanOut()
    fanned.add(record(value))
    reading = Reading(skipped=fanned.skipped)
    for block in fanned.blocks.values():
        for row in block.rows():
            reading.owner = str(row.event.execution_id), row.event.agent_name, row.event.completed_at // _DAY
            reading.rows[row.metric] = float(row.value)
    for failed in fanned.failed:
        if isinstance(failed, FailedMetric):
            reading.refused[failed.metric] = (failed.failure.error_class.value, "")
    return reading


def without_the_table(reading: Reading) -> Reading:
    """The same, before the constraint of the demo's table has its say."""
    for metric, (error_class, literal) in list(reading.refused.items()):
        if error_class == "row_refused":
            del reading.refused[metric]
            reading.rows[metric] = float(literal)
        else:
            reading.refused[metric] = (error_class, "")
    if not reading.rows:
        reading.owner = None
    return reading


@given(
    st.one_of(
        documents.map(encoded), spoilt_documents().map(encoded), any_values.filter(lambda value: value is not None)
    )
)
def test_reference_and_worker_agree_on_any_bytes(value: bytes) -> None:
    assert without_the_table(read(value, (), JANUARY_2026)) == as_the_worker_reads(value)


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"1", encoded(event_without("agent_name"))])
def test_what_is_no_event_has_no_owner(value: bytes) -> None:
    assert read(value, (), 0) == Reading()


def test_a_structured_cloudevent_is_read_by_its_data() -> None:
    envelope = encoded({"specversion": "1.0", "data": event()})

    assert read(envelope, (("content-type", b"application/cloudevents+json"),), 0) == read(encoded(event()), (), 0)
    assert read(envelope, (), 0) == Reading()
