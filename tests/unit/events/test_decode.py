"""The event contract, rule by rule."""

import base64
import json
from datetime import UTC, datetime, timedelta
from time import perf_counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import EXECUTION_ID, JANUARY_2026, Record, encoded, event, event_without, read, record
from worker.core.errors import InvalidEvent
from worker.core.model import UnreadableRecord, Unrepresentable
from worker.events import times
from worker.events.decode import MAX_BYTES, MAX_METRICS, decode
from worker.events.times import MAX_TIME
from worker.events.tolerant_json import MAX_LEVELS


def refusal(document: object, headers: tuple[tuple[str, bytes | None], ...] = ()) -> InvalidEvent:
    """How the worker refuses `document`."""
    with pytest.raises(InvalidEvent) as caught:
        decode(record(document, headers=headers))
    return caught.value


def milliseconds(text: str) -> int:
    """What `datetime` makes of an instant that is written with its offset, down to milliseconds."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class TestASoundEvent:
    def test_gives_every_field(self) -> None:
        source = record(event(completed_at="2026-01-31T23:59:59.5Z"), offset=7)
        assert decode(source) == (
            UUID(EXECUTION_ID),
            "triage",
            "u-1",
            milliseconds("2026-01-31T23:59:59+00:00") + 500,
            JANUARY_2026,
            {"execution_time_ms": 1840, "cost_usd": 0.5},
            source,
        )

    @pytest.mark.parametrize("identity", [EXECUTION_ID.upper(), "00000000-0000-0000-0000-000000000000"])
    def test_may_write_its_uuid_in_either_case(self, identity: str) -> None:
        assert read(event(execution_id=identity)).execution_id == UUID(identity)

    @pytest.mark.parametrize("name", ["a", "a" * 256, "ä" * 256, "\U0001f980" * 256, " ", "\0", "-"])
    def test_names_its_agent_in_1_to_256_characters(self, name: str) -> None:
        assert read(event(agent_name=name)).agent_name == name

    @pytest.mark.parametrize("user", [None, "", "größe", "u" * 10_000])
    def test_may_have_any_user(self, user: str | None) -> None:
        assert read(event(user_id=user)).user_id == user

    def test_may_leave_the_user_out(self) -> None:
        assert read(event_without("user_id")).user_id is None

    @pytest.mark.parametrize("size", [0, 1, MAX_METRICS])
    def test_may_have_up_to_a_thousand_metrics(self, size: int) -> None:
        assert len(read(event(metrics={str(number): number for number in range(size)})).metrics) == size

    @pytest.mark.parametrize("version", [1, 1.0, "1", "1.0", "1.2", "1.10.3"])
    def test_may_name_its_major_version(self, version: object) -> None:
        assert read(event(schema_version=version)).agent_name == "triage"

    def test_may_have_fields_that_nobody_knows(self) -> None:
        unread = {"status": 5, "started_at": [], "event_id": None, "x": {"y": [1, None]}}
        assert read(event(**unread)).agent_name == "triage"

    def test_says_the_last_thing_of_a_name_that_stands_twice(self) -> None:
        text = encoded(event()).replace(b'"metrics": {', b'"agent_name": "second", "metrics": {"cost_usd": 9, ')
        decoded = read(text)
        assert decoded.agent_name == "second"
        assert decoded.metrics["cost_usd"] == 0.5


class TestWholeRefusals:
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
            pytest.param(encoded(event()).replace(b"triage", b"tri\xff"), "InvalidUTF8", id="a stray byte"),
            pytest.param(encoded(event()).replace(b"triage", b"\xed\xa0\x80"), "InvalidUTF8", id="a surrogate's bytes"),
            pytest.param(encoded(event()).replace(b"triage", b"tri\nage"), "InvalidJSON", id="a raw line break"),
            pytest.param(b"\0" * 100, "InvalidJSON", id="zeros"),
            pytest.param(b"null", "NotAnObject", id="null"),
            pytest.param(b"[]", "NotAnObject", id="array"),
            pytest.param(b"NaN", "NotAnObject", id="NaN"),
            pytest.param(b'"text"', "NotAnObject", id="string"),
            pytest.param(b"{}", "InvalidField", id="nothing in it"),
        ],
    )
    def test_no_event_at_all(self, value: bytes, reason: str) -> None:
        assert refusal(value).reason == reason

    @pytest.mark.parametrize("field", ["execution_id", "agent_name", "metrics"])
    def test_a_required_field_is_missing_or_null(self, field: str) -> None:
        for document in (event_without(field), event(**{field: None})):
            error = refusal(document)
            assert error.reason == "InvalidField"
            assert field in str(error)

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
    def test_an_execution_id_in_another_form(self, identity: object) -> None:
        assert "execution_id" in str(refusal(event(execution_id=identity)))

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"agent_name": ""}, id="agent empty"),
            pytest.param({"agent_name": "a" * 257}, id="agent too long"),
            pytest.param({"agent_name": 5}, id="agent a number"),
            pytest.param({"agent_name": float("nan")}, id="agent NaN"),
            pytest.param({"agent_name": "a\ud800"}, id="agent with a lone surrogate"),
            pytest.param({"user_id": 5}, id="user a number"),
            pytest.param({"user_id": float("nan")}, id="user NaN"),
            pytest.param({"user_id": ["u"]}, id="user an array"),
            pytest.param({"user_id": "\udfff"}, id="user a lone surrogate"),
            pytest.param({"metrics": []}, id="metrics an array"),
            pytest.param({"metrics": "{}"}, id="metrics a string"),
            pytest.param({"metrics": float("nan")}, id="metrics NaN"),
            pytest.param({"completed_at": float("nan")}, id="time NaN"),
            pytest.param({"completed_at": 1_767_225_600}, id="time a number"),
            pytest.param({"completed_at": False}, id="time a boolean"),
        ],
    )
    def test_a_field_of_another_type_or_length(self, fields: dict[str, object]) -> None:
        error = refusal(event(**fields))
        assert error.reason == "InvalidField"
        assert next(iter(fields)) in str(error)

    def test_a_thousand_and_one_metrics(self) -> None:
        error = refusal(event(metrics={str(number): number for number in range(1_001)}))
        assert error.reason == "TooManyMetrics"
        assert "1001" in str(error)

    def test_is_not_looked_at_when_it_is_too_large(self) -> None:
        sound = encoded(event())
        largest = sound + b" " * (MAX_BYTES - len(sound))
        assert decode(record(largest)) is not None
        error = refusal(largest + b" ")
        assert (error.reason, str(error)) == (
            "TooLarge",
            f"an event has at most {MAX_BYTES} bytes, not {MAX_BYTES + 1}",
        )

    @pytest.mark.parametrize(
        "version",
        [
            0,
            2,
            10,
            1.5,
            -1,
            "2",
            "2.0",
            "10",
            "01",
            "",
            "1.",
            "1.x",
            "v1",
            "1\n",
            "\u0661",
            True,
            None,
            [1],
            float("nan"),
        ],
    )
    def test_a_version_that_is_not_known(self, version: object) -> None:
        assert refusal(event(schema_version=version)).reason == "UnknownVersion"

    @pytest.mark.parametrize("value", [b"x" * 5_000_000, encoded(event(agent_name="\x1b[31m" + "a" * 5_000_000))])
    def test_their_words_are_short_and_printable_whatever_came(self, value: bytes) -> None:
        message = str(refusal(value))
        assert len(message) < 300
        assert message.isprintable()


class TestNumbersThatNoFloatHolds:
    @pytest.mark.parametrize(
        "literal",
        [
            "NaN",
            "Infinity",
            "-Infinity",
            "1e400",
            "-1e400",
            "1E+309",
            "1.8e308",
            "9" * 400,
            "-" + "9" * 400,
            "9" * 5_000,
        ],
    )
    def test_cost_their_own_metric_only_and_stay_as_they_were_written(self, literal: str) -> None:
        text = encoded(event(metrics={"bad": "?", "good": 1.5, "whole": 2**53 + 1})).replace(b'"?"', literal.encode())
        assert read(text).metrics == {"bad": Unrepresentable(literal), "good": 1.5, "whole": 2**53 + 1}

    @pytest.mark.parametrize(
        "literal", ["1.7976931348623157e308", "-1.7976931348623157e308", "5e-324", "1e-400", "9" * 300, "-0.0", "1E5"]
    )
    def test_do_not_include_what_rounds_to_a_float(self, literal: str) -> None:
        # NaN beside it forces the tolerant parse.
        for beside in (b"0", b"NaN"):
            text = b'{"metrics":{"n":%s,"x":%s},%s' % (
                literal.encode(),
                beside,
                encoded(event_without("metrics"))[1:],
            )
            value = read(text).metrics["n"]
            assert isinstance(value, float)
            assert repr(value) == repr(float(literal))

    @pytest.mark.parametrize(
        "number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**30, 1.5, 1e16, -0.0]
    )
    def test_do_not_change_the_reading_of_their_neighbours(self, number: float) -> None:
        fast = read(event(metrics={"n": number})).metrics["n"]
        tolerant = read(event(metrics={"n": number, "x": float("nan")})).metrics["n"]
        assert (type(tolerant), repr(tolerant)) == (type(fast), repr(fast))

    def test_may_stand_in_fields_that_nobody_reads(self) -> None:
        assert read(event(status=float("nan"), x=[float("inf")])).agent_name == "triage"

    def test_lone_surrogates_in_names_and_unread_text_pass(self) -> None:
        decoded = read(event(metrics={"\ud800": 1, "good": 2}, status="\udfff"))
        assert decoded.metrics == {"\ud800": 1, "good": 2}


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "instant"),
        [
            ("2026-01-31T23:59:59Z", "2026-01-31T23:59:59+00:00"),
            ("2026-01-31t23:59:59z", "2026-01-31T23:59:59+00:00"),
            ("2026-02-01T00:59:59+01:00", "2026-01-31T23:59:59+00:00"),
            ("2026-01-31T12:29:59-11:30", "2026-01-31T23:59:59+00:00"),
            ("2026-01-31T23:59:59-00:00", "2026-01-31T23:59:59+00:00"),
            ("2026-02-01T23:58:59+23:59", "2026-01-31T23:59:59+00:00"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00+00:00"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59+00:00"),
            ("1900-01-01T00:00:00Z", "1900-01-01T00:00:00+00:00"),
            ("1899-12-31T23:30:00-01:00", "1900-01-01T00:30:00+00:00"),
            ("2300-01-01T00:30:00+01:00", "2299-12-31T23:30:00+00:00"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
            ("2017-01-01T05:29:60+05:30", "2017-01-01T00:00:00+00:00"),
        ],
    )
    def test_are_read_in_utc(self, text: str, instant: str) -> None:
        assert read(event(completed_at=text)).completed_at == milliseconds(instant)

    @pytest.mark.parametrize("digits", range(1, 13))
    def test_are_cut_to_milliseconds(self, digits: int) -> None:
        fraction = "987654321987"[:digits]
        base = milliseconds("2026-01-31T23:59:59+00:00")
        assert read(event(completed_at=f"2026-01-31T23:59:59.{fraction}Z")).completed_at == base + int(
            fraction.ljust(3, "0")[:3]
        )

    @given(st.datetimes(datetime(1900, 1, 1), datetime(2299, 12, 31, 23, 59, 59, 999_000), timezones=st.just(UTC)))
    def test_are_the_same_whether_their_second_was_read_before_or_not(self, instant: datetime) -> None:
        instant = instant.replace(microsecond=instant.microsecond // 1_000 * 1_000)
        for other in (instant, instant.replace(microsecond=999_000), instant.replace(microsecond=0), instant):
            text = other.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            assert read(event(completed_at=text)).completed_at == milliseconds(text)

    @pytest.mark.parametrize("fraction", ["5 0", "+50", "\u0665\u0660\u0660", "5e1", "1_0", "..5"])
    def test_have_digits_after_the_point_whether_their_second_was_read_before_or_not(self, fraction: str) -> None:
        read(event(completed_at="2026-01-31T23:59:59.500Z"))
        assert refusal(event(completed_at=f"2026-01-31T23:59:59.{fraction}Z")).reason == "InvalidField"

    def test_are_read_from_a_leap_second_twice(self) -> None:
        for _ in range(2):
            assert read(event(completed_at="2016-12-31T23:59:60.250Z")).completed_at == milliseconds(
                "2017-01-01T00:00:00.250+00:00"
            )

    def test_of_more_seconds_than_are_kept_are_read_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(times, "_MAX_SECONDS", 3)
        for second in [*range(10), *range(10)]:
            text = f"2031-01-31T23:59:{second:02}.001Z"
            assert read(event(completed_at=text)).completed_at == milliseconds(text)
        assert len(times._SECONDS) <= 3

    def test_before_1970_are_cut_the_same_way(self) -> None:
        assert read(event(completed_at="1969-12-31T23:59:59.9999Z")).completed_at == -1
        assert read(event(completed_at="1969-12-31T23:59:59.0001Z")).completed_at == -1_000

    def test_go_to_the_last_millisecond_of_2299(self) -> None:
        assert milliseconds("2299-12-31T23:59:59+00:00") + 999 == MAX_TIME
        assert read(event(completed_at="2299-12-31T23:59:59.9999Z")).completed_at == MAX_TIME

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("2026-01-31T23:59:59", id="no offset"),
            pytest.param("2026-01-31", id="date only"),
            pytest.param("23:59:59Z", id="time only"),
            pytest.param("2026-01-31 23:59:59Z", id="space"),
            pytest.param("2026-01-31T23:59Z", id="no seconds"),
            pytest.param("20260131T235959Z", id="basic form"),
            pytest.param("2026-W05-6T23:59:59Z", id="week"),
            pytest.param("2026-031T23:59:59Z", id="day of the year"),
            pytest.param("2026-01-31T23:59:59,5Z", id="comma"),
            pytest.param("2026-01-31T23:59:59.Z", id="no digit after the point"),
            pytest.param("2026-01-31T23:59:59+0100", id="offset without colon"),
            pytest.param("2026-01-31T23:59:59+01", id="offset without minutes"),
            pytest.param("2026-01-31T23:59:59+24:00", id="offset too large"),
            pytest.param("2026-01-31T23:59:59+01:60", id="offset with 60 minutes"),
            pytest.param("2026-01-31T23:59:59 Z", id="space before the offset"),
            pytest.param("2026-01-31T23:59:59Z\n", id="line break"),
            pytest.param("2026-02-29T00:00:00Z", id="no such day"),
            pytest.param("2026-13-01T00:00:00Z", id="no such month"),
            pytest.param("2026-01-31T24:00:00Z", id="no such hour"),
            pytest.param("2026-01-31T23:60:00Z", id="no such minute"),
            pytest.param("2026-01-31T23:59:61Z", id="no such second"),
            pytest.param("0000-01-01T00:00:00Z", id="year 0"),
            pytest.param("1899-12-31T23:59:59.999Z", id="before 1900"),
            pytest.param("1900-01-01T00:30:00+01:00", id="before 1900 in UTC"),
            pytest.param("2300-01-01T00:00:00Z", id="after 2299"),
            pytest.param("2299-12-31T23:59:60Z", id="after 2299 by a leap second"),
            pytest.param("9999-12-31T23:59:60Z", id="after the last year by a leap second"),
            pytest.param("0001-01-01T00:00:00+23:59", id="before the first year"),
            pytest.param("\u0662026-01-31T23:59:59Z", id="digits of another script"),
            pytest.param("2026-01-31T23:59:59\u212a", id="a letter that is Z in no case"),
            pytest.param("", id="empty"),
            pytest.param("\ud800", id="lone surrogate"),
        ],
    )
    def test_in_another_form_are_refused(self, text: str) -> None:
        error = refusal(event(completed_at=text))
        assert error.reason == "InvalidField"
        assert "completed_at" in str(error)

    @pytest.mark.parametrize("document", [event(completed_at=None), event_without("completed_at")])
    def test_that_are_absent_are_those_of_the_record(self, document: dict[str, object]) -> None:
        decoded = read(document, timestamp=123)
        assert (decoded.completed_at, decoded.recorded_at) == (123, 123)

    @pytest.mark.parametrize(
        ("timestamp", "clamped"), [(-1, 0), (-(2**63), 0), (0, 0), (MAX_TIME, MAX_TIME), (2**63 - 1, MAX_TIME)]
    )
    def test_of_records_are_clamped_to_what_the_table_holds(self, timestamp: int, clamped: int) -> None:
        decoded = read(event_without("completed_at"), timestamp=timestamp)
        assert (decoded.completed_at, decoded.recorded_at) == (clamped, clamped)


class TestHostileValues:
    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(b"[" * 30_000_000, id="arrays"),
            pytest.param(b'{"a":' * 6_000_000, id="objects"),
            pytest.param(b'{"metrics":{"a":' + b"[" * 29_000_000, id="in a metric"),
            pytest.param(b"[NaN," + b"[" * 29_000_000, id="tolerant parse"),
            pytest.param(b'{"a":' + b"1" * 29_000_000 + b"}", id="one long number"),
            pytest.param(b'{"a":1e' + b"1" * 29_000_000 + b"}", id="one long exponent"),
            pytest.param(b'{"a":"' + b"\\ud800" * 5_000_000, id="lone surrogates"),
        ],
    )
    def test_of_30_megabytes_are_refused_quickly(self, value: bytes) -> None:
        started = perf_counter()
        refusal(value)
        assert perf_counter() - started < 5, "ordinarily a fifth of a second"

    @pytest.mark.parametrize("depth", [100, 500])
    def test_may_be_nested_as_deep_as_people_do(self, depth: int) -> None:
        assert read(encoded(event(x=1)).replace(b'"x": 1', b'"x":' + b"[" * depth + b"]" * depth)).user_id == "u-1"

    @pytest.mark.parametrize("beside", [b"1", b"NaN"])
    @pytest.mark.parametrize("brackets", [b"[]", b"{}"])
    def test_may_have_1024_levels_whichever_parser_reads_them(self, beside: bytes, brackets: bytes) -> None:
        opening, closing = (b"[", b"]") if brackets == b"[]" else (b'{"a":', b"}")

        def nested(levels: int) -> bytes:
            inner = opening * (levels - 1) + b'"]]"' + closing * (levels - 1)
            return encoded(event(x="@")).replace(b'"@"', inner + b',"y":' + beside)

        assert read(nested(MAX_LEVELS)).user_id == "u-1"
        assert refusal(nested(MAX_LEVELS + 1)).reason == "InvalidJSON"

    def test_many_brackets_side_by_side_are_not_deep(self) -> None:
        assert read(encoded(event(x=[[]] * 2_000, y=float("nan")))).user_id == "u-1"

    def test_a_record_that_the_client_cannot_parse_says_so(self) -> None:
        with pytest.raises(InvalidEvent) as caught:
            decode(UnreadableRecord("t", 0, 5))
        assert caught.value.reason == "UnreadableRecord"

    def test_a_tombstone_is_no_event_and_no_error(self) -> None:
        assert decode(record(None)) is None
        assert decode(record(None, headers=(("ce_specversion", b"9"),))) is None


STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def cloudevent(**attributes: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": "1", "source": "/agents", "type": "execution.completed"} | attributes


class TestCloudEvents:
    @pytest.mark.parametrize(
        "headers",
        [
            (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("content-type", b"application/json")),
            (("CE_SpecVersion", b"1.1"),),
            (("ce_specversion", b"1.0"), ("content-type", None)),
            (("ce_specversion", b"2.0"), ("ce_specversion", b"1.0")),
            (("ce_specversion", None),),
            (("traceparent", b"\xff\xfe"),),
        ],
    )
    def test_binary_mode_leaves_the_value_as_it_is(self, headers: tuple[tuple[str, bytes | None], ...]) -> None:
        assert decode(record(event(), headers=headers)) == (*read(event())[:6], record(event(), headers=headers))

    @pytest.mark.parametrize("version", [b"2.0", b"0.3", b"10", b"", b"\xff", b"v1"])
    def test_binary_mode_of_another_version_is_refused(self, version: bytes) -> None:
        assert refusal(event(), (("ce_specversion", version),)).reason == "UnknownVersion"

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
    def test_structured_mode_carries_the_event_in_data(self, header: str, content_type: bytes) -> None:
        source = record(cloudevent(data=event()), headers=((header, content_type),))
        assert decode(source) == (*read(event())[:6], source)

    def test_structured_mode_may_carry_it_in_base64(self) -> None:
        data = base64.b64encode(encoded(event(metrics={"bad": float("nan"), "good": 1}))).decode()
        decoded = decode(record(cloudevent(data_base64=data), headers=STRUCTURED))
        assert decoded is not None
        assert decoded.metrics == {"bad": Unrepresentable("NaN"), "good": 1}

    def test_structured_mode_rescues_the_neighbours_of_a_nan_too(self) -> None:
        document = cloudevent(data=event(metrics={"bad": float("nan"), "good": 1}))
        decoded = decode(record(document, headers=STRUCTURED))
        assert decoded is not None
        assert decoded.metrics == {"bad": Unrepresentable("NaN"), "good": 1}

    @pytest.mark.parametrize(
        ("document", "reason"),
        [
            pytest.param(cloudevent(), "InvalidCloudEvent", id="no data"),
            pytest.param(cloudevent(data=None), "NotAnObject", id="null"),
            pytest.param(cloudevent(data="{}"), "NotAnObject", id="text"),
            pytest.param(cloudevent(data=event(agent_name="")), "InvalidField", id="data that is no event"),
            pytest.param(cloudevent(data_base64="%%%"), "InvalidCloudEvent", id="no base64"),
            pytest.param(cloudevent(data_base64="größe"), "InvalidCloudEvent", id="base64 beyond ASCII"),
            pytest.param(cloudevent(data_base64=5), "InvalidCloudEvent", id="base64 a number"),
            pytest.param(cloudevent(data_base64=float("nan")), "InvalidCloudEvent", id="base64 NaN"),
            pytest.param(cloudevent(data_base64=None), "InvalidCloudEvent", id="base64 null"),
            pytest.param(cloudevent(data_base64=""), "InvalidJSON", id="base64 of nothing"),
            pytest.param(cloudevent(data_base64="/w=="), "InvalidUTF8", id="base64 of a stray byte"),
            pytest.param(cloudevent(data=event(), specversion="2.0"), "UnknownVersion", id="version 2"),
            pytest.param(cloudevent(data=event(), specversion=1), "UnknownVersion", id="version a number"),
            pytest.param(cloudevent(data=event(), specversion="\ud800"), "UnknownVersion", id="version a surrogate"),
            pytest.param({"data": event()}, "UnknownVersion", id="no version"),
            pytest.param([cloudevent(data=event())], "InvalidCloudEvent", id="array"),
        ],
    )
    def test_structured_mode_without_a_readable_event_is_refused(self, document: object, reason: str) -> None:
        assert refusal(document, STRUCTURED).reason == reason

    @pytest.mark.parametrize("mode", ["-batch+json", "+avro", "+json-seq", ""])
    def test_other_modes_are_refused(self, mode: str) -> None:
        for document in ([cloudevent(data=event())], cloudevent(data=event())):
            assert (
                refusal(document, (("content-type", f"application/cloudevents{mode}".encode()),)).reason
                == "InvalidCloudEvent"
            )

    def test_a_plain_event_with_other_headers_is_a_plain_event(self) -> None:
        assert decode(Record(encoded(event()), headers=(("content-type", b"text/plain"),))) is not None
