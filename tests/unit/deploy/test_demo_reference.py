"""The reference of the demo and the worker's decoder are written independently, and must agree."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.demo.reference import MAX_LEVELS, Reading, read_event
from tests.support.events import JANUARY_2026, encoded, event, event_without, record
from tests.support.readings import comparable, read_with_worker
from tests.support.strategies import any_headers, any_values, damaged_documents, documents

if TYPE_CHECKING:
    from deploy.local.demo.careless import Headers

STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)


@given(
    st.one_of(
        documents.map(encoded), damaged_documents().map(encoded), any_values.filter(lambda value: value is not None)
    ),
    any_headers,
    st.sampled_from([-(2**63), -1, 0, JANUARY_2026, 2**63 - 1]),
)
def test_reference_and_worker_agree_on_any_bytes(value: bytes, headers: Headers, timestamp: int) -> None:
    found = read_with_worker(record(value, headers=headers, timestamp=timestamp))
    assert comparable(read_event(value, headers, timestamp, {})) == comparable(found)


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"1", encoded(event_without("agent_name"))])
def test_an_invalid_event_has_no_owner(value: bytes) -> None:
    assert read_event(value, (), 0) == Reading()


def test_the_data_of_a_structured_cloudevent_is_the_event() -> None:
    envelope = encoded({"specversion": "1.0", "data": event()})

    assert read_event(envelope, STRUCTURED, 0) == read_event(encoded(event()), (), 0)
    assert read_event(envelope, (), 0) == Reading()


@pytest.mark.parametrize(
    ("content_type", "envelope", "readable"),
    [
        (b"application/cloudevents+json", {"specversion": "1.0", "data": event()}, True),
        (b"Application/CloudEvents+JSON ; charset=utf-8", {"specversion": "1.1", "data": event()}, True),
        (
            b"application/cloudevents+json",
            {"specversion": "1.0", "data_base64": b64encode(encoded(event())).decode()},
            True,
        ),
        (b"application/cloudevents+json", {"specversion": "1.0", "data_base64": "%%"}, False),
        (b"application/cloudevents+json", {"specversion": "1.0", "data_base64": 7}, False),
        (b"application/cloudevents+json", {"specversion": "1.0"}, False),
        (b"application/cloudevents+json", {"data": event()}, False),
        (b"application/cloudevents+json", {"specversion": "2.0", "data": event()}, False),
        (b"application/cloudevents+json", {"specversion": 1.0, "data": event()}, False),
        (b"application/cloudevents+json-seq", {"specversion": "1.0", "data": event()}, False),
        (b"application/cloudevents-batch+json", {"specversion": "1.0", "data": event()}, False),
        (b"application/cloudevents+avro", {"specversion": "1.0", "data": event()}, False),
        (b"application/json", event(), True),
    ],
)
def test_reference_and_worker_agree_on_envelopes(
    content_type: bytes, envelope: dict[str, object], readable: bool
) -> None:
    headers = (("content-type", content_type),)
    reading = read_event(encoded(envelope), headers, 0, {})

    assert (reading.owner is not None) == readable
    assert comparable(reading) == comparable(read_with_worker(record(envelope, headers=headers, timestamp=0)))


@pytest.mark.parametrize("levels", [10, 980, MAX_LEVELS, MAX_LEVELS + 1, 100_000])
@pytest.mark.parametrize("beside", ["1", "NaN"])
def test_reference_and_worker_allow_the_same_number_of_levels(levels: int, beside: str) -> None:
    nested = "[" * (levels - 2) + "]" * (levels - 2)
    value = json.dumps(event(metrics={"a": 7, "b": "@"})).replace('"@"', f'{nested}, "c": {beside}').encode()
    reading = read_event(value, (), 0, {})

    assert (reading.owner is not None) == (levels <= MAX_LEVELS)
    assert comparable(reading) == comparable(read_with_worker(record(value, timestamp=0)))
