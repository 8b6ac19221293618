"""The fuzzer's test oracle: one mutation of the results for each rule, and each must be detected."""

from __future__ import annotations

import json
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.demo.expectations import RecordPosition
from deploy.local.demo.reference import Reading
from tests.fuzz.comparison import Row, compare, expect_result
from tests.fuzz.corpus import CORPUS
from tests.fuzz.dead_letter_comparison import is_same_number
from tests.fuzz.dead_letters import DeadLetterPages, FoundDeadLetter, parse_dead_letter
from tests.fuzz.fuzz_record import FuzzRecord
from tests.fuzz.generate import make_record
from tests.fuzz.in_process import find_disagreements
from tests.fuzz.report import FuzzReport
from tests.fuzz.sent_records import SentRecords
from tests.support.events import EXECUTION_ID, Record, encoded, event
from tests.support.readings import read_with_worker
from worker.core.errors import ErrorClass
from worker.core.model import Event, FailedEvent, FailedMetric, Failure, UnreadableRecord, Unrepresentable
from worker.dead_letters.dead_letter import WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.events.decode import decode

if TYPE_CHECKING:
    from pathlib import Path

POSITION = RecordPosition(2, 7)
TIME = 1_788_220_800_000
COMPLETED = 1_769_903_999_500
HEAD = WorkerInfo("1.0", "execution_metrics")
METRICS = {"cost_usd": 0.5, "bad": float("nan"), "exit_code": 0, "execution_time_ms": -1, "model": "x"}
VALID = FuzzRecord("valid", encoded(event(metrics=METRICS)), b"key", (("dlq.kind", b"lie"), ("h", None)), TIME)
BROKEN = FuzzRecord("broken", b"{", b"\xff", (("h", b"1"),), TIME)
LARGE = BROKEN._replace(value=b"{" * 2**20)
UNREADABLE = BROKEN._replace(unreadable=True)
ROWS = [
    Row("cost_usd", 0.5, EXECUTION_ID, "triage", "u-1", COMPLETED, TIME),
    Row("exit_code", 0.0, EXECUTION_ID, "triage", "u-1", COMPLETED, TIME),
]


def source(record: FuzzRecord) -> Record:
    position = POSITION.partition, POSITION.offset
    return Record(record.value, "topic", *position, record.timestamp, record.key, record.headers)


def metric_letter(metric: str, value: float | Unrepresentable, error_class: ErrorClass) -> FoundDeadLetter:
    decoded = decode(source(VALID))
    assert isinstance(decoded, Event)
    written = encode_dead_letter(
        FailedMetric(decoded, metric, value, Failure(error_class, "SomeRule", "in words"), 0), HEAD, 0
    )
    return parse_dead_letter(written.key, written.value, tuple(written.headers))


def event_letter(record: Any, error_type: str = "InvalidJSON", *, as_pointer: bool = False) -> FoundDeadLetter:
    failed = FailedEvent(record, Failure(ErrorClass.INVALID_EVENT, error_type, "in words"))
    written = (encode_pointer if as_pointer else encode_dead_letter)(failed, HEAD, 0)
    return parse_dead_letter(written.key, written.value, tuple(written.headers))


LETTERS = [
    metric_letter("bad", Unrepresentable("NaN"), ErrorClass.INVALID_METRIC),
    metric_letter("execution_time_ms", -1, ErrorClass.ROW_REFUSED),
]
BROKEN_LETTER = event_letter(source(BROKEN))
POINTER = event_letter(source(LARGE), as_pointer=True)
UNREADABLE_LETTER = event_letter(UnreadableRecord("topic", *POSITION), "UnreadableRecord")


def find_problems(record: FuzzRecord, rows: list[Row], letters: list[FoundDeadLetter]) -> str:
    problems, missing = compare(expect_result(record, POSITION), rows, letters)
    return "; ".join(problems + [f"missing {row.metric}" for row in missing])


@pytest.mark.parametrize(
    ("record", "rows", "letters"),
    [
        (VALID, ROWS, LETTERS),
        (BROKEN, [], [BROKEN_LETTER]),
        (BROKEN._replace(value=None), [], []),
        (LARGE, [], [POINTER]),
        (UNREADABLE, [], [UNREADABLE_LETTER]),
    ],
    ids=["event", "no event", "tombstone", "pointer", "unreadable"],
)
def test_the_right_results_have_no_problems(
    record: FuzzRecord, rows: list[Row], letters: list[FoundDeadLetter]
) -> None:
    assert find_problems(record, rows, letters) == ""


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (ROWS[:1], "missing exit_code"),
        ([*ROWS, ROWS[0]], "2 rows 'cost_usd'"),
        ([*ROWS, ROWS[0]._replace(metric="other")], "not expected"),
        ([ROWS[0]._replace(value=0.25), ROWS[1]], "a row that differs"),
    ],
)
def test_missing_duplicated_unexpected_and_different_rows_are_detected(rows: list[Row], problem: str) -> None:
    assert problem in find_problems(VALID, rows, LETTERS)


@pytest.mark.parametrize(
    ("record", "letters", "problem"),
    [
        (VALID, LETTERS[:1], "no dead letter"),
        (VALID, [*LETTERS, LETTERS[0]], "twice"),
        (VALID, [*LETTERS, metric_letter("cost_usd", 0.5, ErrorClass.ROW_REFUSED)], "not expected"),
        (VALID, [*LETTERS, event_letter(source(VALID))], "not expected"),
        (BROKEN._replace(value=None), [BROKEN_LETTER], "not expected"),
        (BROKEN, [event_letter(source(BROKEN._replace(value=b"{ ")))], "its bytes differ"),
        (BROKEN, [UNREADABLE_LETTER], "its source"),
        (BROKEN, [event_letter(source(BROKEN), as_pointer=True)], "need no pointer"),
        (LARGE, [event_letter(source(LARGE))], "should be a pointer"),
        (LARGE, [POINTER._replace(document=POINTER.document | {"sha256": "0"})], "its digest or size"),
        (LARGE, [POINTER._replace(document=POINTER.document | {"source_offset": 8})], "it points to"),
        (LARGE, [POINTER._replace(key=None)], "a pointer has the key"),
        (UNREADABLE, [UNREADABLE_LETTER._replace(error_type="InvalidJSON")], "only its position"),
    ],
)
def test_missing_duplicated_unexpected_and_different_dead_letters_are_detected(
    record: FuzzRecord, letters: list[FoundDeadLetter], problem: str
) -> None:
    assert problem in find_problems(record, ROWS if record is VALID else [], letters)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"error_class": "row_refused"}, "its class is"),
        ({"key": b"other"}, "its key"),
        ({"headers": ()}, "its headers"),
        ({"source": (POSITION, 0)}, "its source"),
        ({"faults": ("there is no table",)}, "there is no table"),
        ({"document": LETTERS[0].document | {"metric_value": "Infinity"}}, "its value is"),
        ({"document": LETTERS[0].document | {"user_id": None}}, "user_id is"),
        ({"document": LETTERS[0].document | {"completed_at": "2026-01-31T23:59:59.501Z"}}, "completed_at is"),
    ],
)
def test_each_difference_of_a_metrics_dead_letter_is_detected(changed: dict[str, Any], problem: str) -> None:
    assert problem in find_problems(VALID, ROWS, [LETTERS[0]._replace(**changed), LETTERS[1]])


@pytest.mark.parametrize(
    ("text", "literal", "same"),
    [
        ("1.0", "1", False),
        ("18446744073709551615", "18446744073709551615", True),
        ("18446744073709551614", "18446744073709551615", False),
        ("1.8446744073709552e+19", "18446744073709551616", True),
        ("0.1", "0.1000000000000000055511151231257827", True),
        ("0.1", "0.11", False),
        ("NaN", "Infinity", False),
        ("1e400", "2e400", False),
        ("1", "true", False),
    ],
)
def test_numbers_are_compared_as_the_contract_keeps_them(text: str, literal: str, same: bool) -> None:
    assert is_same_number(text, literal) == same


def test_added_headers_that_break_a_rule_are_named() -> None:
    letter = encode_dead_letter(FailedEvent(source(BROKEN), Failure(ErrorClass.INVALID_EVENT, "a b", "")), HEAD, 0)
    headers = tuple(letter.headers)
    assert parse_dead_letter(letter.key, letter.value, headers).faults == ("the error type is no name",)
    with pytest.raises(KeyError):
        parse_dead_letter(letter.key, letter.value, tuple(item for item in headers if item[0] != "dlq.replays"))


def read_until_the_first_failure(record: Record) -> Reading:
    """A worker with one `try` around the loop: a metric that fails loses all metrics after it."""
    right = read_with_worker(record)
    names = list(json.loads(record.value or b"{}").get("metrics", ())) if right.refused else []
    first = next((position for position, name in enumerate(names) if name in right.refused), len(names))
    rows = {name: value for name, value in right.rows.items() if name not in names[first:]}
    return Reading(right.owner, right.user, right.completed_at, right.recorded_at, rows, right.refused, right.skipped)


def test_worker_and_reference_agree_on_the_corpus_and_the_first_mutations() -> None:
    small = [number for number, (name, _) in enumerate(CORPUS) if not name.startswith("oversized")]
    numbers = [*small, *range(len(CORPUS), len(CORPUS) + 300)]
    assert [*find_disagreements(7, numbers, monotonic() + 60, lambda _: None)] == []


def test_a_reader_that_loses_the_metrics_after_a_failure_is_detected() -> None:
    numbers = range(len(CORPUS), len(CORPUS) + 300)
    found = [*find_disagreements(7, numbers, monotonic() + 60, lambda _: None, read_until_the_first_failure)]
    assert found
    assert all(number in numbers and record == make_record(7, number) and problem for number, record, problem in found)


def test_a_reader_that_raises_is_detected() -> None:
    def fail(_: Record) -> Reading:
        raise RecursionError("too deep")

    found = [*find_disagreements(7, range(1_700, 1_720), monotonic() + 60, lambda _: None, fail)]
    assert {item.problem for item in found} == {"raised RecursionError: too deep"}


def test_a_seed_gives_the_same_records_again_and_another_seed_gives_others() -> None:
    numbers = [*range(1_700, 1_760), 9_003, 20_000]
    assert [make_record(1, number) for number in numbers] == [make_record(1, number) for number in numbers]
    assert [make_record(1, number) for number in numbers] != [make_record(2, number) for number in numbers]


def test_sent_records_are_found_by_position() -> None:
    sent = SentRecords()
    sent.add(RecordPosition(1, 2), 10)
    sent.add(RecordPosition(1, 0), 11)
    assert sent.ends == {1: 3}
    assert [sent.number(RecordPosition(1, offset)) for offset in range(4)] == [11, None, 10, None]
    assert [*sent.pages(2)] == [(1, range(2)), (1, range(2, 3))]
    with pytest.raises(ValueError, match="two records"):
        sent.add(RecordPosition(1, 0), 12)


def test_dead_letters_are_read_by_source_and_pages_without_source_remain(tmp_path: Path) -> None:
    elsewhere = BROKEN_LETTER._replace(source=(RecordPosition(0, 99), TIME))
    with DeadLetterPages(tmp_path, 10) as pages:
        for item in (BROKEN_LETTER, elsewhere, BROKEN_LETTER):
            pages.add(item)
        assert pages.read(2, range(10)) == {7: [BROKEN_LETTER, BROKEN_LETTER]}
        assert pages.unread() == [(0, 9)]


def test_one_problem_fails_the_run_and_names_the_record() -> None:
    report = FuzzReport(1)
    report.add_problem("a row is missing", 5)
    assert FuzzReport(1).passed
    assert not report.passed
    assert (report.guilty, report.examples) == ([5], ["record 5: a row is missing"])
