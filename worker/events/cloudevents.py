"""CloudEvents 1.0 over Kafka: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md"""

from base64 import b64decode
from collections.abc import Iterable

from worker.core.errors import InvalidEvent
from worker.core.model import Headers
from worker.events.tolerant_json import abbreviate, parse_json

LABEL_ATTRIBUTES = ("source", "traceparent")
"""The attributes of CloudEvents that can become labels."""
_CLOUDEVENTS = b"application/cloudevents"


def read_attributes(headers: Headers, document: object, names: Iterable[str]) -> list[tuple[str, object]]:
    """The attributes `names` of a CloudEvent, those that it has; none of a plain event.

    `document` is the value of its record. In binary mode an attribute is a text, with a lone surrogate for each byte
    that is not UTF-8; in structured mode it is any JSON.
    """
    named = {name.lower(): value for name, value in headers}
    if (named.get("content-type") or b"").lower().startswith(_CLOUDEVENTS):
        found = document if isinstance(document, dict) else {}
        return [(name, found[name]) for name in names if name in found]
    if named.get("ce_specversion") is None:
        return []
    values = ((name, named.get(f"ce_{name}")) for name in names)
    return [(name, value.decode("utf-8", "surrogateescape")) for name, value in values if value is not None]


def unwrap_cloudevent(headers: Headers, document: object) -> object:
    """The event inside a CloudEvent; `document` itself if the record is a plain event.

    In binary mode the value is already the event, and only `ce_specversion` is checked. Raises InvalidEvent if the
    record is a CloudEvent of another version or mode, or has no readable data.
    """
    named = {name.lower(): value for name, value in headers}
    content_type = (named.get("content-type") or b"").lower()
    media_type = content_type.partition(b";")[0].rstrip()
    if not media_type.startswith(_CLOUDEVENTS):
        _check_specversion(named.get("ce_specversion"))
        return document
    if media_type != b"application/cloudevents+json" or not isinstance(document, dict):
        raise InvalidEvent(
            "InvalidCloudEvent", "a structured CloudEvent must be one JSON object (application/cloudevents+json)"
        )
    version = document.get("specversion")
    _check_specversion(version.encode("utf-8", "replace") if isinstance(version, str) else b"")
    if "data" in document:
        return document["data"]
    try:
        return parse_json(b64decode(document["data_base64"], validate=True))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent("InvalidCloudEvent", "the CloudEvent carries no readable data") from error


def _check_specversion(version: bytes | None) -> None:
    if version is not None and version.partition(b".")[0] != b"1":
        raise InvalidEvent("UnknownVersion", f"CloudEvents specversion {abbreviate(version)} is not 1.x")
