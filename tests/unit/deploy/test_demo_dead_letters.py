"""The test oracle for dead letters of demo, chaos and fuzz: one mutation for each rule, and each must be detected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.demo.careless import Message
from deploy.local.demo.comparison import Differences
from deploy.local.demo.dead_letters import DeadLetterComparison, FoundDeadLetter, Pointer, parse_dead_letter
from deploy.local.demo.expectations import Expectations, RecordPosition
from tests.support.events import Record, encoded, event
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Failure, UnreadableRecord, UnrepresentableNumber
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.events.decode import decode

if TYPE_CHECKING:
    from collections.abc import Callable

TIME = 1_788_220_800_000
LONG = "ü" * 300
METRICS = {"cost_usd": 0.5, "bad": float("nan"), LONG: 1, "execution_time_ms": -1}
HEADERS = (("dlq.kind", b"lie"), ("h", None))
VALUES = [encoded(event(metrics=METRICS)), b"{", b"{" * 2**20]
RECORDS = [Record(value, "topic", 2, offset, TIME, b"key", HEADERS) for offset, value in enumerate(VALUES)]
UNPARSABLE = UnreadableRecord("topic", 2, len(RECORDS))
AT = [RecordPosition(2, offset) for offset in range(len(RECORDS) + 1)]


def of_metric(name: str, value: Any, error_class: ErrorClass) -> FailedMetric:
    decoded = decode(RECORDS[0])
    assert decoded is not None
    return FailedMetric(decoded, name, value, Failure(error_class, "SomeRule", "in words"), 0)


def of_event(record: Any, error_type: str = "InvalidJSON") -> FailedEvent:
    return FailedEvent(record, Failure(ErrorClass.INVALID_EVENT, error_type, "in words"))


def write(failed: Any, kind: Callable[..., EncodedDeadLetter] = encode_dead_letter) -> EncodedDeadLetter:
    return kind(failed, WorkerInfo("1.0", "execution_metrics"), 0)


def parse(letter: EncodedDeadLetter) -> FoundDeadLetter:
    return parse_dead_letter(letter.key, letter.value, tuple(letter.headers))


LETTERS = {
    "metric": parse(write(of_metric("bad", UnrepresentableNumber("NaN"), ErrorClass.INVALID_METRIC))),
    "metric pointer": parse(write(of_metric(LONG, 1, ErrorClass.INVALID_METRIC), encode_pointer))._replace(
        pointer=Pointer(AT[0], 2**20)
    ),
    "refused": parse(write(of_metric("execution_time_ms", -1.0, ErrorClass.ROW_REFUSED)))._replace(content="-1"),
    "event": parse(write(of_event(RECORDS[1]))),
    "pointer": parse(write(of_event(RECORDS[2]), encode_pointer)),
    "unparsable": parse(write(of_event(UNPARSABLE, "UnreadableRecord"))),
}


@pytest.fixture(scope="module")
def expectations(tmp_path_factory: pytest.TempPathFactory) -> Expectations:
    with Expectations(tmp_path_factory.mktemp("rows")) as expectations:
        for record, position in zip(RECORDS, AT, strict=False):
            expectations.add_record(Message(record.key, record.value, record.headers), position, TIME)
        expectations.add_unparsable(AT[-1])
    return expectations


def compare(
    expectations: Expectations, *letters: FoundDeadLetter, repeats: bool = False, required: bool = True
) -> tuple[Differences, DeadLetterComparison]:
    differences = Differences(repeats_allowed=repeats)
    comparison = DeadLetterComparison(expectations.letters, differences)
    for letter in letters:
        comparison.add(letter)
    comparison.finish(lambda _: required)
    return differences, comparison


def test_the_right_dead_letters_have_no_differences(expectations: Expectations) -> None:
    differences, comparison = compare(expectations, *LETTERS.values())

    assert differences == Differences()
    assert comparison.unexpected == {}
    assert (comparison.metrics, comparison.classes["too_large"][0]) == (3, 2)


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        ("metric", {"error_class": "row_refused"}, "its class is row_refused"),
        ("metric", {"error_class": "store_unavailable"}, "its class is store_unavailable"),
        ("refused", {"error_class": "store_unavailable"}, ""),
        ("metric", {"key": b"other"}, "its key differs"),
        ("metric", {"headers": ()}, "its headers differ"),
        ("metric", {"timestamp": 0}, "its source has the timestamp"),
        ("metric", {"faults": ("there is no table",)}, "there is no table"),
        ("metric", {"content": "Infinity"}, "its value is Infinity"),
        ("refused", {"content": "-1.5"}, "its value is -1.5"),
        ("metric", {"event": None}, "it is of None"),
        ("event", {"content": "0"}, "its bytes differ"),
        ("event", {"size": 2**20 + 1}, "should be a pointer"),
        ("event", {"error_class": "too_large", "pointer": Pointer(AT[1], 1), "headers": ()}, "need no pointer"),
        ("pointer", {"content": "0"}, "its digest or size"),
        ("pointer", {"pointer": Pointer(AT[1], 2**20)}, "it points to"),
        ("pointer", {"key": None}, "has the key"),
        ("pointer", {"headers": (("h", b""),)}, "no headers of the source"),
        ("unparsable", {"error_type": "InvalidJSON"}, "its type is"),
        ("unparsable", {"key": b"key"}, "its key differs"),
    ],
)
def test_each_change_of_a_dead_letter_is_wrong(
    expectations: Expectations, name: str, changes: dict[str, Any], fault: str
) -> None:
    changed = LETTERS | {name: LETTERS[name]._replace(**changes)}

    differences, _ = compare(expectations, *changed.values())

    assert (differences.lost, differences.duplicates, differences.wrong) == (0, 0, bool(fault))
    assert fault in "".join(differences.examples)
    assert differences.positions == [LETTERS[name].position] * bool(fault)


def test_missing_and_repeated_dead_letters_are_counted(expectations: Expectations) -> None:
    some = [LETTERS["metric"], LETTERS["metric"], LETTERS["event"]]

    differences, _ = compare(expectations, *some)
    assert (differences.lost, differences.duplicates, differences.wrong) == (len(LETTERS) - 2, 1, 0)

    differences, _ = compare(expectations, *some, repeats=True, required=False)
    assert (differences.total, differences.repeats) == (0, {"letters": 1})


@pytest.mark.parametrize("changes", [{"metric": "cost_usd"}, {"metric": None}, {"position": RecordPosition(9, 9)}])
def test_unexpected_dead_letters_are_returned(expectations: Expectations, changes: dict[str, Any]) -> None:
    extra = LETTERS["metric"]._replace(**changes)

    _, comparison = compare(expectations, *LETTERS.values(), extra)

    assert comparison.unexpected == {(extra.position, extra.metric): extra}


@pytest.mark.parametrize(
    ("header", "value", "fault"),
    [
        ("dlq.kind", b"else", "neither of an event nor of a metric"),
        ("dlq.error.type", b"a b", "the error type is no name"),
        ("dlq.error.message", b"x" * 2_001, "the message is too long"),
        ("dlq.replays", b"1", "it says that it was replayed"),
        ("dlq.table", b"", "there is no table"),
        ("dlq.worker", b"", "there is no version"),
        ("dlq.execution_id", b"x", "a metric without its execution"),
    ],
)
def test_added_headers_that_break_a_rule_are_named(header: str, value: bytes, fault: str) -> None:
    letter = write(of_event(RECORDS[1]))
    source, added = letter.headers[: len(HEADERS)], dict(letter.headers[len(HEADERS) :]) | {header: value}

    assert parse(letter._replace(headers=[*source, *added.items()])).faults == (fault,)
    twice = [*letter.headers, ("dlq.table", b"x")]
    assert parse(letter._replace(headers=twice)).faults == ("an added header is there twice",)
