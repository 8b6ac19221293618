"""CloudEvents 1.0 in both modes of the Kafka binding."""

import base64

import pytest

from tests.support.events import encoded, event, read, record
from tests.unit.events.refusal import refusal_of
from worker.core.model import UnrepresentableNumber
from worker.events.decode import EventPolicy, decode

Headers = tuple[tuple[str, bytes | None], ...]
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)


def cloudevent(**attributes: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": "1", "source": "/agents", "type": "execution.completed"} | attributes


@pytest.mark.parametrize(
    "headers",
    [
        (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("content-type", b"application/json")),
        (("CE_SpecVersion", b"1.1"),),
        (("ce_specversion", b"1.0"), ("content-type", None)),
        (("ce_specversion", b"2.0"), ("ce_specversion", b"1.0")),
        (("ce_specversion", None),),
        (("traceparent", b"\xff\xfe"),),
        (("content-type", b"text/plain"),),
    ],
)
def test_value_is_the_event_in_binary_mode_and_without_cloudevents(headers: Headers) -> None:
    source = record(event(), headers=headers)
    assert decode(source) == read(event())._replace(record=source)


@pytest.mark.parametrize("version", [b"2.0", b"0.3", b"10", b"", b"\xff", b"v1"])
def test_binary_mode_of_another_version_is_refused(version: bytes) -> None:
    assert refusal_of(event(), (("ce_specversion", version),)).reason == "UnknownVersion"


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"application/cloudevents+json; charset=utf-8",
        b"application/cloudevents+json;charset=UTF-8",
        b"Application/CloudEvents+JSON; Charset=utf-8",
    ],
)
@pytest.mark.parametrize("header", ["content-type", "Content-Type"])
def test_structured_mode_carries_the_event_in_data(header: str, content_type: bytes) -> None:
    source = record(cloudevent(data=event()), headers=((header, content_type),))
    assert decode(source) == read(event())._replace(record=source)


@pytest.mark.parametrize("field", ["data", "data_base64"])
def test_structured_mode_reads_nan_beside_other_metrics(field: str) -> None:
    data = event(metrics={"bad": float("nan"), "good": 1})
    document = cloudevent(**{field: data if field == "data" else base64.b64encode(encoded(data)).decode()})
    decoded = decode(record(document, headers=STRUCTURED))
    assert decoded is not None
    assert decoded.metrics == {"bad": UnrepresentableNumber("NaN"), "good": 1}


REFUSED: dict[str, list[object]] = {
    "InvalidCloudEvent": [
        *(cloudevent(), [cloudevent(data=event())]),
        *(cloudevent(data_base64=value) for value in ("%%%", "größe", 5, float("nan"), None)),
    ],
    "NotAnObject": [cloudevent(data=None), cloudevent(data="{}")],
    "InvalidField": [cloudevent(data=event(agent_name=""))],
    "InvalidJSON": [cloudevent(data_base64="")],
    "InvalidUTF8": [cloudevent(data_base64="/w==")],
    "UnknownVersion": [
        {"data": event()},
        *(cloudevent(data=event(), specversion=version) for version in ("2.0", 1, "\ud800")),
    ],
}


@pytest.mark.parametrize(
    ("document", "reason"), [(document, reason) for reason, documents in REFUSED.items() for document in documents]
)
def test_structured_mode_without_a_readable_event_is_refused(document: object, reason: str) -> None:
    assert refusal_of(document, STRUCTURED).reason == reason


@pytest.mark.parametrize("mode", ["-batch+json", "+avro", "+json-seq", ""])
@pytest.mark.parametrize("document", [[cloudevent(data=event())], cloudevent(data=event())], ids=["array", "object"])
def test_other_modes_are_refused(document: object, mode: str) -> None:
    headers = (("content-type", f"application/cloudevents{mode}".encode()),)
    assert refusal_of(document, headers).reason == "InvalidCloudEvent"


BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_source", b"/agents/planner"),
    ("CE_TraceParent", b"00-4bf9-00f0-01"),
)
BOTH = EventPolicy(cloudevent_labels=("source", "traceparent"))


def labels_of(document: object, headers: Headers, policy: EventPolicy = BOTH) -> tuple[object, object]:
    decoded = decode(record(document, headers=headers), policy)
    assert decoded is not None
    return dict(decoded.labels), decoded.skipped_labels


class TestAttributesAsLabels:
    def test_are_taken_in_both_modes(self) -> None:
        expected = {"source": "/agents/planner", "traceparent": "00-4bf9-00f0-01"}
        assert labels_of(event(), BINARY) == (expected, ())
        assert labels_of(cloudevent(data=event(), **expected), STRUCTURED) == (expected, ())

    @pytest.mark.parametrize("names", [(), ("source",), ("traceparent",)])
    def test_only_those_that_are_named_are_taken(self, names: tuple[str, ...]) -> None:
        found, skipped = labels_of(event(), BINARY, EventPolicy(cloudevent_labels=names))
        assert (sorted(found), skipped) == (sorted(names), ())  # type: ignore[call-overload]  # a mapping

    @pytest.mark.parametrize(
        ("document", "headers"),
        [
            (event(source="/of-the-event"), ()),
            (event(), (("ce_source", b"/a"), ("traceparent", b"00"))),  # no ce_specversion: no CloudEvent
            (event(), (("ce_specversion", b"1.0"), ("ce_source", None))),
            (cloudevent(data=event(), source=None), STRUCTURED),
        ],
    )
    def test_are_none_of_a_plain_event_or_where_they_have_no_value(self, document: object, headers: Headers) -> None:
        assert labels_of(document, headers) == ({}, ())

    def test_labels_and_status_of_the_event_come_first(self) -> None:
        many = {"source": "mine", **{str(number): "v" for number in range(14)}}
        found, skipped = labels_of(event(labels=many, status="ok"), BINARY)
        assert found == many | {"status": "ok"}
        assert skipped == (("traceparent", "too_many"),)

    @pytest.mark.parametrize("text", [b"\xff", b"/a\xc3"])
    def test_bytes_that_are_not_utf8_are_skipped_in_binary_mode(self, text: bytes) -> None:
        headers = (("ce_specversion", b"1.0"), ("ce_source", text))
        assert labels_of(event(), headers) == ({}, (("source", "lone_surrogate"),))

    @pytest.mark.parametrize(("value", "reason"), [(7, "not_a_string"), ({}, "not_a_string"), ("s" * 257, "too_long")])
    def test_bad_attributes_are_skipped_in_structured_mode(self, value: object, reason: str) -> None:
        assert labels_of(cloudevent(data=event(), source=value), STRUCTURED) == ({}, (("source", reason),))
