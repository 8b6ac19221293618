"""The values of dead letters: metrics, numbers, and agent names."""

import json

import pytest
from hypothesis import given

from tests.support import strategies
from tests.support.events import EXECUTION_ID, Record, event, record
from tests.unit.dead_letters.builders import INVALID, WORKER, failed_metric, parse
from worker.core.model import FailedEvent, UnrepresentableNumber
from worker.dead_letters.record_format import encode_dead_letter
from worker.dead_letters.value import (
    InvalidDeadLetter,
    encode_value,
    format_number,
    parse_agent_name,
    parse_metric_event,
)
from worker.events.fan_out import FanOut
from worker.events.parsing_cost import MAX_VALUES
from worker.replay.contents import to_replayed_record


def test_metric_is_encoded_as_its_row() -> None:
    assert json.loads(encode_value(failed_metric())) == {
        "execution_id": EXECUTION_ID,
        "agent_name": "triage",
        "user_id": "u-1",
        "labels": {},
        "metric_type": "m",
        "metric_value": "1.5",
        "completed_at": "2026-01-01T23:59:59.500Z",
        "recorded_at": "2026-01-01T00:00:00.000Z",
        "source_topic": "execution-completed",
        "source_partition": 3,
        "source_offset": 42,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-1, "-1"),
        (2**53 + 1, "9007199254740993"),
        (2**64 - 1, "18446744073709551615"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (1e16, "1e+16"),
        (True, "true"),
        (False, "false"),
        (UnrepresentableNumber("-Infinity"), "-Infinity"),
        (UnrepresentableNumber("9" * 400), "9" * 400),
    ],
)
def test_number_is_formatted_without_loss(value: float | UnrepresentableNumber, text: str) -> None:
    assert format_number(value) == text


@given(strategies.metrics)
def test_invalid_metric_fails_in_the_same_way_after_a_replay(metrics: dict[str, object]) -> None:
    before, after = FanOut(), FanOut()
    before.add_record(record(event(metrics=metrics)))
    for item in before.failed:
        letter = parse(encode_dead_letter(item, WORKER, 0))
        after.add_event(parse_metric_event(letter, to_replayed_record(letter, None)))
    assert [encode_value(item) for item in after.failed] == [encode_value(item) for item in before.failed]
    assert [item.failure for item in after.failed] == [item.failure for item in before.failed]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metric_value", "one"),
        ("metric_value", 1.5),
        ("metric_value", "[1]"),
        ("metric_value", "[" * 9_999),
        ("completed_at", "yesterday"),
        ("completed_at", "2026-02-30T00:00:00.000Z"),
        ("completed_at", "1899-12-31T23:59:59.999Z"),
        ("completed_at", "2300-01-01T00:00:00.000Z"),
        ("completed_at", "9999-12-31T23:59:59.999Z"),
        ("completed_at", "0001-01-01T00:00:00.000Z"),
        ("recorded_at", "1969-12-31T23:59:59.999Z"),
        ("recorded_at", "2300-01-01T00:00:00.000Z"),
        ("execution_id", ""),
        ("execution_id", None),
        ("execution_id", "x" * 129),
        ("execution_id", "\ud800"),
        ("labels", None),
        ("labels", ["model"]),
        ("labels", {"": "empty"}),
        ("labels", {"n" * 65: "v"}),
        ("labels", {"model": "v" * 257}),
        ("labels", {"model": 1}),
        ("labels", {"model": "\ud800"}),
        ("labels", {str(number): "v" for number in range(17)}),
        ("agent_name", 7),
        ("agent_name", "a\ud800"),
        ("agent_name", ""),
        ("agent_name", "a" * 257),
        ("user_id", 7),
        ("user_id", "u" * 257),
        ("user_id", "\udfff"),
        ("metric_type", None),
        pytest.param("more", [[]] * MAX_VALUES, id="too many values"),
    ],
)
def test_metric_with_an_invalid_field_is_refused(field: str, value: object) -> None:
    letter = encode_dead_letter(failed_metric(), WORKER, 0)
    document = json.loads(letter.value) | {field: value}
    with pytest.raises(InvalidDeadLetter, match=r"^the value is not a metric: (?!AttributeError)"):
        parse_metric_event(parse(letter._replace(value=json.dumps(document).encode())))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("completed_at", "1900-01-01T00:00:00.000Z"),
        ("completed_at", "2299-12-31T23:59:59.999Z"),
        ("execution_id", "run_1"),
        ("execution_id", "é" * 128),
        ("labels", {"n" * 64: "é" * 256, "model": ""}),
        ("labels", {f"{number:02}": "v" for number in range(16)}),
        ("agent_name", "é" * 256),
        ("user_id", "u" * 256),
        ("user_id", ""),
        ("user_id", None),
    ],
)
def test_metric_at_the_limits_of_an_event_is_parsed(field: str, value: object) -> None:
    letter = encode_dead_letter(failed_metric(), WORKER, 0)
    document = json.loads(letter.value) | {field: value}
    parsed = parse_metric_event(parse(letter._replace(value=json.dumps(document).encode())))
    assert json.loads(encode_value(failed_metric()._replace(event=parsed)))[field] == value


@pytest.mark.parametrize(
    ("value", "agent"),
    [
        (b'{"agent_name": "triage", "metrics": 7}', "triage"),
        (b'{"specversion": "1.0", "data": {"agent_name": "triage"}}', "triage"),
        (b'{"agent_name": 7}', None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        pytest.param(b'{"agent_name": "triage", "x": [' + b"[]," * MAX_VALUES + b"0]}", None, id="too many values"),
        (b"", None),
        (b"[]", None),
    ],
)
def test_agent_name_is_parsed_even_from_an_invalid_event(value: bytes, agent: str | None) -> None:
    assert parse_agent_name(parse(encode_dead_letter(FailedEvent(Record(value), INVALID), WORKER, 0))) == agent
