"""CloudEvents 1.0 in both modes of the Kafka binding."""

import base64

import pytest

from tests.support.events import encoded, event, read, record
from tests.unit.events.refusal import refusal_of
from worker.core.model import UnrepresentableNumber
from worker.events.decode import decode

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
