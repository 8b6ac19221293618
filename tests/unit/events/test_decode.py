"""The event contract, field by field."""

import json
from base64 import b64encode

import pytest

from tests.support.events import EXECUTION_ID, JANUARY_2026, encoded, event, event_without, read, record
from tests.unit.events.refusal import refusal_of
from worker.core.errors import InvalidEvent
from worker.core.times import DAY, format_rfc3339
from worker.events.completed_at import MAX_TIME
from worker.events.decode import MAX_METRICS, EventPolicy, decode
from worker.events.parsing_cost import MAX_BYTES, MAX_VALUES


def metrics(count: int) -> dict[str, int]:
    return {str(number): number for number in range(count)}


def test_valid_event_gives_every_field() -> None:
    source = record(event(completed_at="2026-01-01T23:59:59.5Z"), offset=7)
    assert decode(source) == (
        EXECUTION_ID,
        "triage",
        "u-1",
        JANUARY_2026 + DAY - 500,
        JANUARY_2026,
        {"execution_time_ms": 1840, "cost_usd": 0.5},
        source,
        (),
        (),
    )


VALID: dict[str, list[object]] = {
    "execution_id": ["run_6f1c", "wf/sync#17", "7", " ", "\0", "ü" * 128, "\U0001f980" * 128, "{" + EXECUTION_ID + "}"],
    "agent_name": ["a", "a" * 256, "ä" * 256, "\U0001f980" * 256, " ", "\0", "-"],
    "user_id": [None, "", "größe", "u" * 256, "\U0001f980" * 256, "42"],
    "metrics": [{}, metrics(1), metrics(MAX_METRICS)],
    "schema_version": [1, 1.0, "1", "1.0", "1.2", "1.10.3"],
}
REFUSED: dict[str, list[object]] = {
    "execution_id": ["", 12, [EXECUTION_ID], "\ud800" * 36, "x" * 129, float("nan"), True],
    "agent_name": ["", "a" * 257, 5, float("nan"), "a\ud800"],
    "user_id": [5.5, 1e16, 2**64, -(2**63) - 1, True, float("nan"), ["u"], "\udfff", "u" * 257],
    "metrics": [[], "{}", float("nan")],
    "completed_at": [float("nan"), True, False, [1_767_225_600], {}, 1_767_225_600_000_000],
    "schema_version": [
        *(0, 2, 10, 1.5, -1, True, None, [1], float("nan")),
        *("2", "2.0", "10", "01", "", "1.", "1.x", "v1", "1\n", "\u0661"),
    ],
}


def values_of_fields(table: dict[str, list[object]]) -> list[tuple[str, object]]:
    return [(field, value) for field, values in table.items() for value in values]


@pytest.mark.parametrize(("field", "value"), values_of_fields(VALID))
def test_valid_value_of_a_field_is_read(field: str, value: object) -> None:
    decoded = read(event(**{field: value}))
    if field != "schema_version":
        assert getattr(decoded, field) == value


@pytest.mark.parametrize("number", [42, 0, -1, 2**64 - 1, -(2**63)])
@pytest.mark.parametrize("metrics", [{"a": 1}, {"a": float("nan")}], ids=["orjson", "tolerant parser"])
def test_integer_as_user_id_is_read_as_its_text(number: int, metrics: dict[str, float]) -> None:
    assert read(event(user_id=number, metrics=metrics)).user_id == str(number)


@pytest.mark.parametrize(("number", "text"), [(42.0, "42"), (-1e3, "-1000"), (2.0**53, "9007199254740992")])
def test_integer_that_is_written_as_a_float_is_the_same_user(number: float, text: str) -> None:
    assert read(event(user_id=number)).user_id == text


HEX_ID = EXECUTION_ID.replace("-", "")


@pytest.mark.parametrize("form", [EXECUTION_ID, EXECUTION_ID.upper(), EXECUTION_ID[:18] + EXECUTION_ID[18:].upper()])
def test_uuid_with_its_hyphens_is_stored_in_lower_case(form: str) -> None:
    assert read(event(execution_id=form)).execution_id == EXECUTION_ID


@pytest.mark.parametrize(
    "text",
    [
        *(HEX_ID, HEX_ID.upper(), "4bf92f3577b34da6a3ce929d0e0e4736"),  # the last as in a traceparent
        *("{" + EXECUTION_ID.upper() + "}", "urn:uuid:" + EXECUTION_ID, "RUN_1", "A" * 31, "A" * 33, "Z" * 32),
        *(EXECUTION_ID.upper().replace("-", other) for other in ("_", " ", "--")),
        *(EXECUTION_ID.upper()[:-1] + other for other in ("_", "\n", "-", "G", "\u0661")),
        *("0B2D3C4E5-F60-4718-9A2B-3C4D5E6F7081", "0B2D3C4E5F604718-9A2B-3C4D5E6F7081AA", EXECUTION_ID.upper() + "\n"),
    ],
)
def test_id_that_is_no_uuid_is_stored_as_it_was_sent(text: str) -> None:
    assert read(event(execution_id=text)).execution_id == text


@pytest.mark.parametrize(("field", "value"), values_of_fields(REFUSED))
def test_other_value_of_a_field_is_refused(field: str, value: object) -> None:
    error = refusal_of(event(**{field: value}))
    assert error.reason == ("UnknownVersion" if field == "schema_version" else "InvalidField")
    assert field in str(error)


def test_event_has_at_most_1000_metrics() -> None:
    error = refusal_of(event(metrics=metrics(1_001)))
    assert (error.reason, str(error)) == ("TooManyMetrics", "an event has at most 1000 metrics, not 1001")


def test_unknown_fields_and_their_values_are_ignored() -> None:
    unread = {"status": 5, "started_at": [], "event_id": None, "x": {"y": [1, None]}, "z": [float("inf")], "\ud800": 1}
    assert read(event(**unread)).agent_name == "triage"


def test_last_of_two_equal_names_counts() -> None:
    text = encoded(event()).replace(b'"metrics": {', b'"agent_name": "second", "metrics": {"cost_usd": 9, ')
    decoded = read(text)
    assert decoded.agent_name == "second"
    assert decoded.metrics["cost_usd"] == 0.5


def test_message_about_a_long_user_id_does_not_contain_it() -> None:
    with pytest.raises(InvalidEvent, match="user_id has at most 256 characters, not 257"):
        read(event(user_id="s" * 257))


AGES = {"TooOld": (-400, -1), "InFuture": (1, 1)}
"""Days after the timestamp of the record, and a step in milliseconds beyond them."""


@pytest.mark.parametrize("reason", AGES)
class TestAge:
    def test_limit_is_accepted_and_a_millisecond_beyond_is_not(self, reason: str) -> None:
        days, step = AGES[reason]
        limit = JANUARY_2026 + days * DAY
        assert read(event(completed_at=format_rfc3339(limit))).completed_at == limit
        with pytest.raises(InvalidEvent) as refused:
            read(event(completed_at=format_rfc3339(limit + step)))
        assert refused.value.reason == reason
        for time in (limit + step, JANUARY_2026):
            assert format_rfc3339(time) in str(refused.value)

    @pytest.mark.parametrize(("timestamp", "max_age_days"), [(-1, 400), (JANUARY_2026, 0)])
    def test_any_time_is_accepted_without_a_timestamp_or_a_limit(
        self, reason: str, timestamp: int, max_age_days: int
    ) -> None:
        days, _ = AGES[reason]
        time = JANUARY_2026 + 2 * days * DAY
        found = decode(record(event(completed_at=format_rfc3339(time)), timestamp=timestamp), EventPolicy(max_age_days))
        assert found is not None
        assert found.completed_at == time


def test_limit_of_the_age_can_be_set() -> None:
    source = record(event(completed_at=format_rfc3339(JANUARY_2026 - 2 * DAY)))
    assert decode(source, EventPolicy(max_age_days=2)) is not None
    with pytest.raises(InvalidEvent, match="more than 1 days \\(EVENT_MAX_AGE_DAYS\\) before"):
        decode(source, EventPolicy(max_age_days=1))


@pytest.mark.parametrize("document", [event(completed_at=None), event_without("completed_at", "user_id")])
@pytest.mark.parametrize(
    ("timestamp", "time"), [(123, 123), (-1, 0), (-(2**63), 0), (MAX_TIME, MAX_TIME), (2**63 - 1, MAX_TIME)]
)
def test_absent_completed_at_is_the_time_of_the_record_within_what_the_table_holds(
    document: dict[str, object], timestamp: int, time: int
) -> None:
    decoded = read(document, timestamp=timestamp)
    assert (decoded.completed_at, decoded.recorded_at) == (time, time)


@pytest.mark.parametrize("headers", [(), (("ce_specversion", b"9"),)])
def test_tombstone_is_neither_an_event_nor_an_error(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    assert decode(record(None, headers=headers)) is None


NO_EVENTS = {
    "InvalidJSON": [
        *(b"", b" ", b"{", b"\0" * 100, encoded(event())[:-1], encoded(event()) + b"{}"),
        *(b"\xef\xbb\xbf" + encoded(event()), json.dumps(event()).encode("utf-16-le")),
        encoded(event()).replace(b"triage", b"tri\nage"),
    ],
    "InvalidUTF8": [
        json.dumps(event()).encode("utf-16"),
        *(encoded(event()).replace(b"triage", value) for value in (b"tri\xff", b"\xed\xa0\x80")),
    ],
    "NotAnObject": [b"null", b"[]", b"NaN", b'"text"'],
    "InvalidField": [b"{}"],
}


@pytest.mark.parametrize(
    ("value", "reason"), [(value, reason) for reason, values in NO_EVENTS.items() for value in values]
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


def test_value_larger_than_16_mebibytes_is_refused() -> None:
    valid = encoded(event())
    largest = valid + b" " * (MAX_BYTES - len(valid))
    assert decode(record(largest)) is not None
    error = refusal_of(largest + b" ")
    assert (error.reason, str(error)) == ("TooLarge", f"an event has at most {MAX_BYTES} bytes, not {MAX_BYTES + 1}")


@pytest.mark.parametrize("element", [b"[]", b"{}", b"1", b"[[]]", b'{"k":1}', b"NaN"])
def test_value_with_too_many_values_is_refused_before_it_is_parsed(element: bytes) -> None:
    weight = 1 + element.count(b"[") + element.count(b"{")
    valid = encoded(event(x=["@"])).replace(b'"@"', b",".join([element] * (MAX_VALUES // weight - 20)))
    assert decode(record(valid)) is not None
    error = refusal_of(valid.replace(b'"x": [', b'"x":[' + b"1," * 100).replace(b'"x":[', b'"x":[' + b"1," * 100))
    assert error.reason == "TooManyValues"
    assert str(error).startswith(f"an event has at most {MAX_VALUES} commas, [ and {{ in all, not 250")
    assert refusal_of(b"not JSON" + b"," * MAX_VALUES + b",").reason == "TooManyValues"


def test_values_within_base64_are_counted() -> None:
    hidden = b64encode(encoded(event(x="@")).replace(b'"@"', b"[" + b"[]," * MAX_VALUES + b"1]")).decode()
    envelope = encoded({"specversion": "1.0", "data_base64": hidden})
    headers = (("content-type", b"application/cloudevents+json"),)
    with pytest.raises(InvalidEvent) as caught:
        decode(record(envelope, headers=headers))
    assert caught.value.reason == "TooManyValues"


@pytest.mark.parametrize("value", [b"x" * 5_000_000, encoded(event(agent_name="\x1b[31m" + "a" * 5_000_000))])
def test_message_is_short_and_printable(value: bytes) -> None:
    message = str(refusal_of(value))
    assert len(message) < 300
    assert message.isprintable()
