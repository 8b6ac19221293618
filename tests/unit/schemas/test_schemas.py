"""The published schemas and the code give the same verdict.

What JSON Schema, or Python's implementation of it, cannot say:

- a lone surrogate in `agent_name` or `user_id`: refused by the code, `test_decode.py` has the cases;
- the hours around 1900-01-01 and 2300-01-01, which the code counts in UTC and the schema by the year as written;
- that a day exists: that is `"format": "date-time"`, which Python's implementation does not check by itself. `FORMATS`
  below checks the day and leaves the form to the pattern;
- the end of a pattern: `$` matches before a line break at the end too in Python, but not in JSON Schema's own dialect.
"""

import json
import re
from calendar import monthrange
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from tests.support import events, strategies
from tests.support.events import Record, encoded
from worker.core.errors import ErrorClass, InvalidEvent
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure
from worker.dead_letters.dead_letter import Headers, WorkerInfo, dead_letter, pointer
from worker.events.decode import MAX_METRICS, MAX_NAME_LENGTH, decode
from worker.events.fan_out import FanOut

FORMATS = FormatChecker(formats=["uuid"])


@FORMATS.checks("date-time", raises=ValueError)
def _is_a_day(text: object) -> bool:
    if not isinstance(text, str):
        return True
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)\S+", text)
    return match is not None and 1 <= int(match[3]) <= monthrange(int(match[1]), int(match[2]))[1]


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("schemas").joinpath(name).read_text("utf-8"))
    return loaded


EVENT = schema("event.schema.json")
DEAD_LETTER = schema("dead_letter.schema.json")
event_validator = Draft202012Validator(EVENT, format_checker=FORMATS)


def validator(definition: str, of: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": of["$defs"]}, format_checker=FORMATS)


def refused_because(value: bytes) -> str | None:
    try:
        decode(Record(value))
    except InvalidEvent as error:
        return error.reason
    return None


@pytest.mark.parametrize("name", ["event.schema.json", "dead_letter.schema.json"])
def test_a_schema_is_a_schema_and_describes_what_it_holds(name: str) -> None:
    loaded = schema(name)
    Draft202012Validator.check_schema(loaded)
    assert loaded["$schema"].endswith("2020-12/schema")
    assert loaded["description"]


def test_every_field_of_an_event_is_described_to_the_producer() -> None:
    assert {name for name, field in EVENT["properties"].items() if len(field.get("description", "")) < 40} == set()


def test_every_example_of_a_field_is_one() -> None:
    for name, field in EVENT["properties"].items():
        for value in field["examples"]:
            document = events.event(**{name: value})
            assert event_validator.is_valid(document), (name, value)
            assert refused_because(encoded(document)) is None, (name, value)


def test_the_limits_are_those_of_the_code() -> None:
    fields = EVENT["properties"]
    assert fields["metrics"]["maxProperties"] == MAX_METRICS
    assert fields["agent_name"]["maxLength"] == MAX_NAME_LENGTH
    assert EVENT["$defs"]["metric_name"]["maxLength"] == MAX_NAME_LENGTH


class TestEvents:
    @given(strategies.documents)
    def test_sound_ones_pass_both(self, document: dict[str, object]) -> None:
        assert event_validator.is_valid(document)
        assert refused_because(encoded(document)) is None

    @given(strategies.spoilt_documents())
    @example(events.event(schema_version=1.0))
    @example(events.event(schema_version=True))
    @example(events.event(completed_at="2026-02-29T00:00:00Z"))
    @example(events.event(completed_at="2026-01-31T24:00:00Z"))
    @example(events.event(completed_at="2026-01-31T23:59:60Z"))
    @example(events.event(agent_name="\U0001f980" * 256))
    def test_spoilt_ones_get_the_same_verdict(self, document: dict[str, object]) -> None:
        assume(not _near_the_limits(document.get("completed_at")))
        reason = refused_because(encoded(document))
        event(reason or "passes")
        assert event_validator.is_valid(document) == (reason is None)

    @given(strategies.json_values)
    def test_other_documents_get_the_same_verdict(self, document: object) -> None:
        assert event_validator.is_valid(document) == (refused_because(encoded(document)) is None)

    @given(strategies.times)
    def test_times_get_the_same_verdict(self, text: str) -> None:
        assume(not _near_the_limits(text))
        document = events.event(completed_at=text)
        reason = refused_because(encoded(document))
        event(reason or "passes")
        assert event_validator.is_valid(document) == (reason is None)

    @pytest.mark.parametrize(
        ("text", "by_the_year", "in_utc"),
        [("1900-01-01T00:30:00+01:00", True, False), ("2300-01-01T00:30:00+01:00", False, True)],
    )
    def test_times_around_the_limits_may_not(self, text: str, by_the_year: bool, in_utc: bool) -> None:
        document = events.event(completed_at=text)
        assert event_validator.is_valid(document) == by_the_year
        assert (refused_because(encoded(document)) is None) == in_utc


class TestMetrics:
    @given(
        st.one_of(strategies.metric_names, st.text(max_size=300)), st.one_of(strategies.numbers, strategies.json_values)
    )
    @example("n" * 256, 1)
    @example("n" * 257, 1)
    @example("", 1)
    @example("n" * 257, "skipped")
    def test_have_the_fate_that_the_definitions_say(self, name: str, value: object) -> None:
        fanned = FanOut()
        fanned.add_record(events.record(events.event(metrics={name: value})))
        number = validator("metric_number", EVENT).is_valid(value)
        sound = validator("metric_name", EVENT).is_valid(name)
        assert fanned.rows == (number and sound)
        assert len(fanned.failed) == (number and not sound)
        assert fanned.skipped.total() == (not number)


HEAD = WorkerInfo(worker="1.2.3", table="default.execution_metrics")


class TestDeadLetters:
    @given(strategies.failed_metrics)
    def test_of_a_metric_validate(self, failed: FailedMetric) -> None:
        letter = dead_letter(failed, HEAD, 0)
        value = json.loads(letter.value)
        Draft202012Validator(DEAD_LETTER, format_checker=FORMATS).validate(value)
        validator("metric", DEAD_LETTER).validate(value)

    @given(st.one_of(strategies.failed_metrics, strategies.failed_events))
    def test_as_pointers_validate(self, failed: Failed) -> None:
        value = json.loads(pointer(failed, HEAD, 0).value)
        Draft202012Validator(DEAD_LETTER, format_checker=FORMATS).validate(value)
        validator("pointer", DEAD_LETTER).validate(value)

    @given(st.one_of(strategies.failed_metrics, strategies.failed_events), st.integers(0, 10_413_791_999_999))
    def test_have_headers_that_validate(self, failed: Failed, failed_at: int) -> None:
        for write in (dead_letter, pointer):
            validator("headers", DEAD_LETTER).validate(_read(write(failed, HEAD, failed_at).headers))

    @given(st.lists(st.one_of(strategies.failed_metrics, strategies.failed_events)))
    def test_write_no_header_that_the_schema_does_not_name(self, failed: list[Failed]) -> None:
        known = set(DEAD_LETTER["$defs"]["headers"]["properties"])
        assert {name for item in failed for name in _read(dead_letter(item, HEAD, 0).headers)} <= known

    def test_write_every_header_that_the_schema_names(self) -> None:
        failure = Failure(ErrorClass.ROW_REFUSED, "E", "m", 469, isolated=False)
        failed = FailedMetric(events.read(events.event()), "m", 1, failure, 1)
        definition = DEAD_LETTER["$defs"]["headers"]
        written = set(_read(dead_letter(failed, HEAD, 0).headers))
        assert written == set(definition["properties"]) - {"dlq.replaces", "dlq.part_of"}
        again, part = (
            set(_read(dead_letter(strategies.replayed(failed, whole=whole), HEAD, 0).headers))
            for whole in (False, True)
        )
        assert (again - written, part - written) == ({"dlq.replaces"}, {"dlq.part_of"})
        of_event = FailedEvent(Record(b""), Failure(ErrorClass.INVALID_EVENT, "E", "m"))
        assert set(_read(dead_letter(of_event, HEAD, 0).headers)) == set(definition["required"])

    def test_name_every_class_of_error(self) -> None:
        named = DEAD_LETTER["$defs"]["headers"]["properties"]["dlq.error.class"]["enum"]
        assert sorted(named) == sorted(ErrorClass)

    @pytest.mark.parametrize(
        "spoilt", [{"metric_value": 1.5}, {"metric_value": "1,5"}, {"metric_value": "nan"}, {"x": 1}]
    )
    def test_of_another_form_do_not_validate(self, spoilt: dict[str, object]) -> None:
        failed = FailedMetric(events.read(events.event()), "m", 1.5, Failure(ErrorClass.ROW_REFUSED, "E", "m"), 1)
        value = json.loads(dead_letter(failed, HEAD, 0).value)
        assert Draft202012Validator(DEAD_LETTER).is_valid(value)
        assert not Draft202012Validator(DEAD_LETTER).is_valid(value | spoilt)


def _read(headers: Headers) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8") for name, value in headers}


def _near_the_limits(time: object) -> bool:
    return isinstance(time, str) and re.match(r"(1899|2299)-12-31|(1900|2300)-01-01", time) is not None
