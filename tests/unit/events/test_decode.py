"""The event contract, field by field."""

import json
from uuid import UUID

import pytest

from tests.support.events import EXECUTION_ID, JANUARY_2026, encoded, event, event_without, read, record
from tests.unit.events.refusal import refusal_of
from worker.core.errors import InvalidEvent
from worker.core.model import UnreadableRecord
from worker.events.decode import MAX_BYTES, MAX_METRICS, decode
from worker.events.times import MAX_TIME


def test_valid_event_gives_every_field() -> None:
    source = record(event(completed_at="2026-01-31T23:59:59.5Z"), offset=7)
    assert decode(source) == (
        UUID(EXECUTION_ID),
        "triage",
        "u-1",
        1_769_903_999_500,
        JANUARY_2026,
        {"execution_time_ms": 1840, "cost_usd": 0.5},
        source,
    )


@pytest.mark.parametrize("identity", [EXECUTION_ID.upper(), "00000000-0000-0000-0000-000000000000"])
def test_execution_id_may_be_in_either_case_or_zero(identity: str) -> None:
    assert read(event(execution_id=identity)).execution_id == UUID(identity)


@pytest.mark.parametrize("name", ["a", "a" * 256, "ä" * 256, "\U0001f980" * 256, " ", "\0", "-"])
def test_agent_name_has_1_to_256_characters(name: str) -> None:
    assert read(event(agent_name=name)).agent_name == name


@pytest.mark.parametrize("user", [None, "", "größe", "u" * 10_000])
def test_user_id_may_be_null_or_any_string(user: str | None) -> None:
    assert read(event(user_id=user)).user_id == user


def test_user_id_may_be_missing() -> None:
    assert read(event_without("user_id")).user_id is None


@pytest.mark.parametrize("size", [0, 1, MAX_METRICS])
def test_event_may_have_up_to_1000_metrics(size: int) -> None:
    assert len(read(event(metrics={str(number): number for number in range(size)})).metrics) == size


@pytest.mark.parametrize("version", [1, 1.0, "1", "1.0", "1.2", "1.10.3"])
def test_schema_version_may_name_any_minor_version_of_1(version: object) -> None:
    assert read(event(schema_version=version)).agent_name == "triage"


def test_unknown_fields_and_their_values_are_ignored() -> None:
    unread = {"status": 5, "started_at": [], "event_id": None, "x": {"y": [1, None]}, "z": [float("inf")], "\ud800": 1}
    assert read(event(**unread)).agent_name == "triage"


def test_last_of_two_equal_names_counts() -> None:
    text = encoded(event()).replace(b'"metrics": {', b'"agent_name": "second", "metrics": {"cost_usd": 9, ')
    decoded = read(text)
    assert decoded.agent_name == "second"
    assert decoded.metrics["cost_usd"] == 0.5


@pytest.mark.parametrize("document", [event(completed_at=None), event_without("completed_at")])
def test_completed_at_is_the_records_time_when_absent(document: dict[str, object]) -> None:
    decoded = read(document, timestamp=123)
    assert (decoded.completed_at, decoded.recorded_at) == (123, 123)


@pytest.mark.parametrize(
    ("timestamp", "clamped"), [(-1, 0), (-(2**63), 0), (0, 0), (MAX_TIME, MAX_TIME), (2**63 - 1, MAX_TIME)]
)
def test_time_of_the_record_is_clamped_to_what_the_table_holds(timestamp: int, clamped: int) -> None:
    decoded = read(event_without("completed_at"), timestamp=timestamp)
    assert (decoded.completed_at, decoded.recorded_at) == (clamped, clamped)


@pytest.mark.parametrize("headers", [(), (("ce_specversion", b"9"),)])
def test_tombstone_is_neither_an_event_nor_an_error(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    assert decode(record(None, headers=headers)) is None


def test_record_that_the_client_cannot_parse_is_refused() -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(UnreadableRecord("t", 0, 5))
    assert caught.value.reason == "UnreadableRecord"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(b"", "InvalidJSON", id="empty, which is no tombstone"),
        pytest.param(b" ", "InvalidJSON", id="blank"),
        pytest.param(b"{", "InvalidJSON", id="cut"),
        pytest.param(encoded(event())[:-1], "InvalidJSON", id="cut at the end"),
        pytest.param(encoded(event()) + b"{}", "InvalidJSON", id="two documents"),
        pytest.param(b"\xef\xbb\xbf" + encoded(event()), "InvalidJSON", id="byte order mark"),
        pytest.param(json.dumps(event()).encode("utf-16"), "InvalidUTF8", id="UTF-16"),
        pytest.param(json.dumps(event()).encode("utf-16-le"), "InvalidJSON", id="UTF-16 without a mark"),
        pytest.param(encoded(event()).replace(b"triage", b"tri\xff"), "InvalidUTF8", id="a byte that is not UTF-8"),
        pytest.param(encoded(event()).replace(b"triage", b"\xed\xa0\x80"), "InvalidUTF8", id="a surrogate's bytes"),
        pytest.param(encoded(event()).replace(b"triage", b"tri\nage"), "InvalidJSON", id="a raw line break"),
        pytest.param(b"\0" * 100, "InvalidJSON", id="zeros"),
        pytest.param(b"null", "NotAnObject", id="null"),
        pytest.param(b"[]", "NotAnObject", id="array"),
        pytest.param(b"NaN", "NotAnObject", id="NaN"),
        pytest.param(b'"text"', "NotAnObject", id="string"),
        pytest.param(b"{}", "InvalidField", id="an empty object"),
    ],
)
def test_value_that_is_no_event_is_refused(value: bytes, reason: str) -> None:
    assert refusal_of(value).reason == reason


@pytest.mark.parametrize("field", ["execution_id", "agent_name", "metrics"])
def test_required_field_that_is_missing_or_null_is_named(field: str) -> None:
    missing, null = refusal_of(event_without(field)), refusal_of(event(**{field: None}))
    assert missing.reason == null.reason == "InvalidField"
    assert str(missing).startswith(f"{field} is missing; it must be a")
    assert str(null).startswith(f"{field} must be a")
    assert str(null).endswith("; got null")


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param("{" + EXECUTION_ID + "}", id="braces"),
        pytest.param("urn:uuid:" + EXECUTION_ID, id="urn"),
        pytest.param(EXECUTION_ID.replace("-", ""), id="no hyphens"),
        pytest.param(EXECUTION_ID.replace("-", "_"), id="underscores"),
        pytest.param(EXECUTION_ID[:-1] + "_", id="an underscore among the digits"),
        pytest.param("0b2d3c4e5-f60-4718-9a2b-3c4d5e6f7081", id="hyphens elsewhere"),
        pytest.param(EXECUTION_ID[:-1], id="short"),
        pytest.param(EXECUTION_ID + "\n", id="line break"),
        pytest.param(EXECUTION_ID[:-1] + "\n", id="line break in place of a digit"),
        pytest.param(EXECUTION_ID[:-2] + "  ", id="spaces in place of digits"),
        pytest.param(EXECUTION_ID[:-1] + "-", id="a hyphen in place of a digit"),
        pytest.param(EXECUTION_ID.replace("-", " "), id="spaces for hyphens"),
        pytest.param(EXECUTION_ID[:-2] + "\u00e9\u00e9", id="letters in place of digits"),
        pytest.param(" " + EXECUTION_ID, id="space"),
        pytest.param(EXECUTION_ID.replace("0", "\u0660"), id="digits of another script"),
        pytest.param("", id="empty"),
        pytest.param(12, id="number"),
        pytest.param([EXECUTION_ID], id="array"),
        pytest.param("\ud800" * 36, id="lone surrogates"),
    ],
)
def test_execution_id_in_another_form_is_refused(identity: object) -> None:
    assert "execution_id must be a UUID" in str(refusal_of(event(execution_id=identity)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agent_name", ""),
        ("agent_name", "a" * 257),
        ("agent_name", 5),
        ("agent_name", float("nan")),
        ("agent_name", "a\ud800"),
        ("user_id", 5),
        ("user_id", float("nan")),
        ("user_id", ["u"]),
        ("user_id", "\udfff"),
        ("metrics", []),
        ("metrics", "{}"),
        ("metrics", float("nan")),
        ("completed_at", float("nan")),
        ("completed_at", 1_767_225_600),
        ("completed_at", False),
    ],
)
def test_field_of_another_type_or_length_is_refused(field: str, value: object) -> None:
    error = refusal_of(event(**{field: value}))
    assert error.reason == "InvalidField"
    assert field in str(error)


def test_event_with_more_than_1000_metrics_is_refused() -> None:
    error = refusal_of(event(metrics={str(number): number for number in range(1_001)}))
    assert (error.reason, str(error)) == ("TooManyMetrics", "an event has at most 1000 metrics, not 1001")


def test_value_larger_than_16_mebibytes_is_refused() -> None:
    valid = encoded(event())
    largest = valid + b" " * (MAX_BYTES - len(valid))
    assert decode(record(largest)) is not None
    error = refusal_of(largest + b" ")
    assert (error.reason, str(error)) == ("TooLarge", f"an event has at most {MAX_BYTES} bytes, not {MAX_BYTES + 1}")


@pytest.mark.parametrize(
    "version",
    [0, 2, 10, 1.5, -1, "2", "2.0", "10", "01", "", "1.", "1.x", "v1", "1\n", "\u0661", True, None, [1], float("nan")],
)
def test_unknown_schema_version_is_refused(version: object) -> None:
    assert refusal_of(event(schema_version=version)).reason == "UnknownVersion"


@pytest.mark.parametrize("value", [b"x" * 5_000_000, encoded(event(agent_name="\x1b[31m" + "a" * 5_000_000))])
def test_message_is_short_and_printable(value: bytes) -> None:
    message = str(refusal_of(value))
    assert len(message) < 300
    assert message.isprintable()
