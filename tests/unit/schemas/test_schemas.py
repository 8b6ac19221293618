"""The published schemas and the code accept the same documents.

Exceptions, which JSON Schema or its implementation in Python cannot express:

- lone surrogates in `agent_name` or `user_id`: the code rejects them, see `test_decode.py`;
- the hours around 1900-01-01 and 2300-01-01: the code compares in UTC, the schema the year as written;
- days that do not exist, such as 30 February: the code rejects them;
- an integer that is written as a float above 2**53 as `user_id`: the code rejects it, the schema cannot tell;
- the end of a pattern: in Python `$` also matches before a final line break, in JSON Schema's own dialect it does not.
"""

import json
import re
from calendar import monthrange
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.support import events, strategies
from tests.support.events import Record, encoded
from worker.core.errors import ErrorClass, InvalidEvent
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure, Headers
from worker.dead_letters.dead_letter import WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.dead_letters.settlement import Action, Settlement, encode_settlement
from worker.events.decode import EventPolicy, decode
from worker.events.fan_out import FanOut


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("schemas").joinpath(name).read_text("utf-8"))
    return loaded


def validator(schema: dict[str, Any], definition: str | None = None) -> Draft202012Validator:
    """Return a validator for a schema, or for one of its definitions."""
    if definition:
        schema = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    return Draft202012Validator(schema)


EVENT = schema("event.schema.json")
DEAD_LETTER = schema("dead_letter.schema.json")
SETTLEMENT = schema("settlement.schema.json")
HEADERS = DEAD_LETTER["$defs"]["headers"]
WORKER = WorkerInfo(version="1.2.3", table="default.execution_metrics")
event_validator = validator(EVENT)
failed_items = st.one_of(strategies.failed_metrics, strategies.failed_events)


def rejection_reason(value: bytes) -> str | None:
    try:
        decode(Record(value), EventPolicy(max_age_days=0))  # the schema does not know the timestamp of the record
    except InvalidEvent as error:
        return error.reason
    return None


def _is_named_difference(document: object) -> bool:
    if not isinstance(document, dict):
        return False
    time, user = document.get("completed_at"), document.get("user_id")
    if isinstance(user, float) and abs(user) > 2**53:
        return True
    return isinstance(time, str) and (
        re.match(r"(1899|2299)-12-31|(1900|2300)-01-01", time) is not None or not _has_existing_day(time)
    )


def _has_existing_day(time: str) -> bool:
    match = re.match(r"([0-9]{4})-(0[1-9]|1[0-2])-([0-9]{2})", time)
    return match is None or int(match[3]) <= monthrange(int(match[1]), int(match[2]))[1]


def _read(headers: Headers) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8") for name, value in headers}


@pytest.mark.parametrize("loaded", [EVENT, DEAD_LETTER, SETTLEMENT], ids=["event", "dead letter", "settlement"])
def test_schema_is_valid_and_has_a_description(loaded: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(loaded)
    assert loaded["$schema"].endswith("2020-12/schema")
    assert loaded["description"]


def test_every_field_of_an_event_has_a_description_and_valid_examples() -> None:
    for name, field in EVENT["properties"].items():
        assert len(field["description"]) >= 40, name
        for value in field["examples"]:
            document = events.event(**{name: value})
            assert event_validator.is_valid(document), (name, value)
            assert rejection_reason(encoded(document)) is None, (name, value)


@given(strategies.documents)
def test_schema_and_code_accept_valid_events(document: dict[str, object]) -> None:
    assert event_validator.is_valid(document)
    assert rejection_reason(encoded(document)) is None


@settings(max_examples=300)
@given(
    st.one_of(
        strategies.damaged_documents(),
        strategies.times.map(lambda text: events.event(completed_at=text)),
        strategies.json_values,
    )
)
@example(events.event(schema_version=1.0))
@example(events.event(schema_version=True))
@example(events.event(completed_at="2026-02-28 00:00:00"))
@example(events.event(completed_at="2026-02-28  00:00:00"))
@example(events.event(completed_at=1_795_600_445.123))
@example(events.event(completed_at=1_795_600_445_123))
@example(events.event(completed_at=1_795_600_445_123_456))
@example(events.event(completed_at=10_413_791_999.999))
@example(events.event(completed_at=10_413_792_000))
@example(events.event(completed_at=99_999_999_999))
@example(events.event(completed_at=10_413_791_999_999))
@example(events.event(completed_at=10_413_792_000_000))
@example(events.event(completed_at=-2_208_988_800))
@example(events.event(completed_at=-2_208_988_801))
@example(events.event(completed_at=True))
@example(events.event(user_id=42.0))
@example(events.event(user_id=42.5))
@example(events.event(user_id=2**64 - 1))
@example(events.event(user_id=2**64))
@example(events.event(execution_id="x" * 128))
@example(events.event(execution_id="x" * 129))
@example(events.event(completed_at="2026-01-31T24:00:00Z"))
@example(events.event(completed_at="2026-01-31T23:59:60Z"))
@example(events.event(agent_name="\U0001f980" * 256))
@example(events.event(agent_name="a" * 257))
@example(events.event(metrics={str(number): number for number in range(1_000)}))
@example(events.event(metrics={str(number): number for number in range(1_001)}))
@example(events.event(completed_at="2026-01-01T00:00:00Z\n"))
@example(events.event(schema_version="1.2\n"))
def test_schema_and_code_agree_on_modified_events_and_other_json(document: object) -> None:
    assume(not _is_named_difference(document))
    reason = rejection_reason(encoded(document))
    event(reason or "valid")
    assert event_validator.is_valid(document) == (reason is None)


@given(st.one_of(strategies.metric_names, st.text(max_size=300)), st.one_of(strategies.numbers, strategies.json_values))
@example("n" * 256, 1)
@example("n" * 257, 1)
@example("", 1)
@example("n" * 257, "skipped")
def test_metric_becomes_a_row_a_failure_or_is_skipped_as_its_definitions_say(name: str, value: object) -> None:
    fan_out = FanOut()
    fan_out.add_record(events.record(events.event(metrics={name: value})))
    is_number = validator(EVENT, "metric_number").is_valid(value)
    has_valid_name = validator(EVENT, "metric_name").is_valid(name)
    assert fan_out.rows == (is_number and has_valid_name)
    assert len(fan_out.failed) == (is_number and not has_valid_name)
    assert fan_out.skipped.total() == (not is_number)


@given(strategies.failed_metrics)
def test_dead_letter_of_a_metric_is_valid(failed: FailedMetric) -> None:
    value = json.loads(encode_dead_letter(failed, WORKER, 0).value)
    validator(DEAD_LETTER).validate(value)
    validator(DEAD_LETTER, "metric").validate(value)


@given(strategies.settlements)
def test_settlement_is_valid(settlement: Settlement) -> None:
    encoded_settlement = encode_settlement(settlement, WORKER.version)
    validator(SETTLEMENT).validate(json.loads(encoded_settlement.value))
    headers = _read(encoded_settlement.headers)
    validator(SETTLEMENT, "headers").validate(headers)
    assert headers.keys() == SETTLEMENT["$defs"]["headers"]["properties"].keys()
    assert set(SETTLEMENT["properties"]["action"]["enum"]) == set(Action)


@given(failed_items)
def test_pointer_is_valid(failed: Failed) -> None:
    value = json.loads(encode_pointer(failed, WORKER, 0).value)
    validator(DEAD_LETTER).validate(value)
    validator(DEAD_LETTER, "pointer").validate(value)


@given(failed_items, st.integers(0, 10_413_791_999_999))
def test_headers_are_valid_and_all_in_the_schema(failed: Failed, failed_at: int) -> None:
    for write in (encode_dead_letter, encode_pointer):
        headers = _read(write(failed, WORKER, failed_at).headers)
        validator(DEAD_LETTER, "headers").validate(headers)
        assert headers.keys() <= HEADERS["properties"].keys()


def test_every_header_in_the_schema_is_written() -> None:
    failure = Failure(ErrorClass.ROW_REFUSED, "E", "m", 469, isolated=False)
    failed = FailedMetric(events.read(events.event()), "m", 1, failure, 1)
    edited = {name for name in HEADERS["properties"] if name.startswith("dlq.edit.")}
    written = set(_read(encode_dead_letter(failed, WORKER, 0).headers))
    assert written == set(HEADERS["properties"]) - edited - {"dlq.replaces", "dlq.replaces_metric", "dlq.part_of"}
    again, part = (
        set(_read(encode_dead_letter(strategies.replayed(failed, whole=whole), WORKER, 0).headers))
        for whole in (False, True)
    )
    assert again - written == {"dlq.replaces", "dlq.replaces_metric", *edited}
    assert part - written == {"dlq.part_of", *edited}
    of_event = FailedEvent(Record(b""), Failure(ErrorClass.INVALID_EVENT, "E", "m"))
    assert set(_read(encode_dead_letter(of_event, WORKER, 0).headers)) == set(HEADERS["required"])


@pytest.mark.parametrize("change", [{"metric_value": 1.5}, {"metric_value": "1,5"}, {"metric_value": "nan"}, {"x": 1}])
def test_dead_letter_of_another_form_is_invalid(change: dict[str, object]) -> None:
    failed = FailedMetric(events.read(events.event()), "m", 1.5, Failure(ErrorClass.ROW_REFUSED, "E", "m"), 1)
    value = json.loads(encode_dead_letter(failed, WORKER, 0).value)
    assert validator(DEAD_LETTER).is_valid(value)
    assert not validator(DEAD_LETTER).is_valid(value | change)
