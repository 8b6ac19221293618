"""The fuzzer's books: they must notice whatever is missing, doubled or different, and say nothing when all is well."""

from __future__ import annotations

import json
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.demo.reference import Reading
from tests.fuzz.comparison import Row, compare
from tests.fuzz.corpus import CORPUS
from tests.fuzz.dead_letter_comparison import same_number
from tests.fuzz.dead_letters import DeadLetterPages, FoundDeadLetter, parse_dead_letter
from tests.fuzz.expected import ExpectedResult, expect_result
from tests.fuzz.fuzz_record import FuzzRecord
from tests.fuzz.generate import make_record
from tests.fuzz.in_process import disagreements
from tests.fuzz.report import FuzzReport
from tests.fuzz.sent_records import RecordPosition, SentRecords
from tests.support.events import EXECUTION_ID, encoded, event
from tests.support.events import Record as Built
from tests.support.readings import read_with_worker
from worker.core.errors import ErrorClass
from worker.core.model import Event, FailedEvent, FailedMetric, Failure, Record, UnreadableRecord, Unrepresentable
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo, dead_letter, pointer
from worker.events.decode import decode

if TYPE_CHECKING:
    from pathlib import Path

PLACE = RecordPosition(2, 7)
TIME = 1_788_220_800_000
HEAD = WorkerInfo("1.0", "execution_metrics")
METRICS = {"cost_usd": 0.5, "bad": float("nan"), "exit_code": 0, "execution_time_ms": -1, "model": "x"}
SOUND = FuzzRecord("sound", encoded(event(metrics=METRICS)), b"key", (("dlq.kind", b"lie"), ("h", None)), TIME)
BROKEN = FuzzRecord("broken", b"{", b"\xff", (("h", b"1"),), TIME)
COMPLETED = 1_769_903_999_500
ROWS = [
    Row("cost_usd", 0.5, EXECUTION_ID, "triage", "u-1", COMPLETED, TIME),
    Row("exit_code", 0.0, EXECUTION_ID, "triage", "u-1", COMPLETED, TIME),
]


def source(record: FuzzRecord) -> Built:
    return Built(record.value, "topic", PLACE.partition, PLACE.offset, record.timestamp, record.key, record.headers)


def read_back(letter: EncodedDeadLetter) -> FoundDeadLetter:
    return parse_dead_letter(letter.key, letter.value, tuple(letter.headers))


def metric_letter(metric: str, value: float | Unrepresentable, error_class: ErrorClass) -> FoundDeadLetter:
    decoded = decode(source(SOUND))
    assert isinstance(decoded, Event)
    failure = Failure(error_class, "SomeRule", "in words")
    return read_back(dead_letter(FailedMetric(decoded, metric, value, failure, 0), HEAD, 0))


def event_letter(record: Record, error_type: str = "InvalidJSON", *, as_pointer: bool = False) -> FoundDeadLetter:
    failed = FailedEvent(record, Failure(ErrorClass.INVALID_EVENT, error_type, "in words"))
    return read_back((pointer if as_pointer else dead_letter)(failed, HEAD, 0))


def letters() -> list[FoundDeadLetter]:
    return [
        metric_letter("bad", Unrepresentable("NaN"), ErrorClass.INVALID_METRIC),
        metric_letter("execution_time_ms", -1, ErrorClass.ROW_REFUSED),
    ]


def problems(record: FuzzRecord, rows: list[Row], found: list[FoundDeadLetter]) -> list[str]:
    verdict = compare(expect_result(record, PLACE), rows, found)
    return verdict.problems + [f"absent {row.metric}" for row in verdict.absent]


def test_books_that_balance_say_nothing() -> None:
    assert problems(SOUND, ROWS, letters()) == []
    assert problems(BROKEN, [], [event_letter(source(BROKEN))]) == []
    assert problems(BROKEN._replace(value=None), [], []) == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[:1], "absent exit_code"),
        ([], "absent cost_usd"),
        ([*ROWS, ROWS[0]], "2 rows 'cost_usd'"),
        ([*ROWS, ROWS[0]._replace(metric="other")], "not owed"),
        ([*ROWS, ROWS[0]._replace(metric="bad", value=0.0)], "not owed"),
        ([ROWS[0]._replace(value=0.25), ROWS[1]], "a row that differs"),
        ([ROWS[0]._replace(user=None), ROWS[1]], "a row that differs"),
        ([ROWS[0]._replace(agent="other"), ROWS[1]], "a row that differs"),
        ([ROWS[0]._replace(completed_at=0), ROWS[1]], "a row that differs"),
        ([ROWS[0]._replace(recorded_at=0), ROWS[1]], "a row that differs"),
        ([ROWS[0]._replace(execution_id="0" * 36), ROWS[1]], "a row that differs"),
    ],
)
def test_rows_that_are_missing_doubled_or_different_are_noticed(rows: list[Row], said: str) -> None:
    assert said in "; ".join(problems(SOUND, rows, letters()))


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_metric_without_its_dead_letter_is_noticed(left_out: int) -> None:
    found = letters()
    del found[left_out]
    assert "no dead letter" in "; ".join(problems(SOUND, ROWS, found))


def test_a_dead_letter_too_many_is_noticed() -> None:
    assert "twice" in "; ".join(problems(SOUND, ROWS, [*letters(), letters()[0]]))
    stranger = metric_letter("cost_usd", 0.5, ErrorClass.ROW_REFUSED)
    assert "not owed" in "; ".join(problems(SOUND, ROWS, [*letters(), stranger]))
    assert "not owed" in "; ".join(problems(SOUND, ROWS, [*letters(), event_letter(source(SOUND))]))
    assert "not owed" in "; ".join(problems(BROKEN._replace(value=None), [], [event_letter(source(BROKEN))]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"error_class": "row_refused"}, "its class is"),
        ({"key": b"other"}, "its key"),
        ({"headers": ()}, "its headers"),
        ({"source": (PLACE, 0)}, "its source"),
        ({"source": (RecordPosition(2, 8), TIME)}, "its source"),
        ({"faults": ("there is no table",)}, "there is no table"),
        ({"size": 2**20 + 1}, "should be a pointer"),
    ],
)
def test_a_metric_letter_that_differs_is_noticed(changed: dict[str, Any], said: str) -> None:
    first, second = letters()
    assert said in "; ".join(problems(SOUND, ROWS, [first._replace(**changed), second]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metric_value", "Infinity"),
        ("user_id", None),
        ("agent_name", "other"),
        ("execution_id", "0" * 36),
        ("completed_at", "2026-01-31T23:59:59.501Z"),
        ("recorded_at", "1970-01-01T00:00:00.000Z"),
        ("source_offset", 8),
    ],
)
def test_a_field_of_a_metric_letter_that_differs_is_noticed(field: str, value: object) -> None:
    first, second = letters()
    changed = first._replace(document=first.document | {field: value})
    assert len(problems(SOUND, ROWS, [changed, second])) == 1


def test_an_event_letter_with_other_bytes_is_noticed() -> None:
    other = event_letter(source(BROKEN._replace(value=b"{ ")))
    assert "its bytes are others" in "; ".join(problems(BROKEN, [], [other]))
    assert "no dead letter" in "; ".join(problems(BROKEN, [], []))


def test_a_pointer_is_owed_to_what_is_too_large_and_to_nothing_else() -> None:
    large = BROKEN._replace(value=b"{" * 2**20)
    right = event_letter(source(large), as_pointer=True)
    assert problems(large, [], [right]) == []
    assert "should be a pointer" in "; ".join(problems(large, [], [event_letter(source(large))]))
    assert "need no pointer" in "; ".join(problems(BROKEN, [], [event_letter(source(BROKEN), as_pointer=True)]))
    for field, value in (("sha256", sha256(b"").hexdigest()), ("size", 2**21), ("source_offset", 8)):
        wrong = right._replace(document=right.document | {field: value})
        assert len(problems(large, [], [wrong])) == 1
    assert len(problems(large, [], [right._replace(key=None)])) == 1


def test_an_unreadable_record_has_a_letter_of_its_own_kind() -> None:
    record = BROKEN._replace(unreadable=True)
    right = event_letter(UnreadableRecord("topic", *PLACE), "UnreadableRecord")
    assert problems(record, [], [right]) == []
    assert len(problems(record, [], [right._replace(error_type="InvalidJSON")])) == 1
    assert "no dead letter" in "; ".join(problems(record, [], []))
    assert problems(BROKEN, [], [right]) != []


@pytest.mark.parametrize(
    ("text", "literal", "same"),
    [
        ("1", "1", True),
        ("1.0", "1", False),
        ("18446744073709551615", "18446744073709551615", True),
        ("18446744073709551614", "18446744073709551615", False),
        ("1.8446744073709552e+19", "18446744073709551616", True),
        ("0.1", "0.1000000000000000055511151231257827", True),
        ("0.1", "0.11", False),
        ("NaN", "NaN", True),
        ("NaN", "Infinity", False),
        ("1e400", "2e400", False),
        ("true", "true", True),
        ("1", "true", False),
    ],
)
def test_numbers_are_compared_as_the_contract_keeps_them(text: str, literal: str, same: bool) -> None:
    assert same_number(text, literal) == same


def test_added_headers_that_break_a_rule_are_named() -> None:
    letter = dead_letter(FailedEvent(source(BROKEN), Failure(ErrorClass.INVALID_EVENT, "a b", "")), HEAD, 0)
    headers = tuple(letter.headers)
    assert parse_dead_letter(letter.key, letter.value, headers).faults == ("the type of the error is no name",)
    with pytest.raises(KeyError):
        parse_dead_letter(letter.key, letter.value, tuple(item for item in headers if item[0] != "dlq.replays"))


def a_loop_with_one_try_around_it(record: Built) -> Reading:
    """What the worker replaces: the first metric that fails costs all after it."""
    right = read_with_worker(record)
    names = list(json.loads(record.value or b"{}").get("metrics", ())) if right.refused else []
    first = next((position for position, name in enumerate(names) if name in right.refused), len(names))
    return Reading(right.owner, right.user, right.completed_at, right.recorded_at, {
        name: value for name, value in right.rows.items() if name not in names[first:]
    }, right.refused, right.skipped)  # fmt: skip


def test_the_corpus_and_the_first_mutations_are_read_as_the_contract_has_it() -> None:
    small = [number for number, (name, _) in enumerate(CORPUS) if not name.startswith("giant")]
    numbers = [*small, *range(len(CORPUS), len(CORPUS) + 300)]
    assert [*disagreements(7, numbers, monotonic() + 60, lambda _: None)] == []


def test_a_reader_that_loses_the_neighbours_of_a_bad_metric_is_found_and_the_record_named() -> None:
    numbers = range(len(CORPUS), len(CORPUS) + 300)
    found = [*disagreements(7, numbers, monotonic() + 60, lambda _: None, a_loop_with_one_try_around_it)]
    assert found
    assert all(number in numbers and record == make_record(7, number) and problem for number, record, problem in found)


def test_a_reader_that_raises_is_found() -> None:
    def broken(_: Built) -> Reading:
        raise RecursionError("too deep")

    found = [*disagreements(7, range(1_700, 1_720), monotonic() + 60, lambda _: None, broken)]
    assert {item.problem for item in found} == {"raised RecursionError: too deep"}


def test_a_seed_makes_the_same_records_again_and_another_seed_others() -> None:
    numbers = [*range(1_700, 1_760), 9_003, 20_000]
    assert [make_record(1, number) for number in numbers] == [make_record(1, number) for number in numbers]
    assert [make_record(1, number) for number in numbers] != [make_record(2, number) for number in numbers]


def test_the_ledger_knows_who_stands_where() -> None:
    sent = SentRecords()
    sent.add(RecordPosition(1, 2), 10)
    sent.add(RecordPosition(1, 0), 11)
    assert sent.ends == {1: 3}
    assert [sent.number(RecordPosition(1, offset)) for offset in range(4)] == [11, None, 10, None]
    assert [*sent.pages(2)] == [(1, range(2)), (1, range(2, 3))]
    with pytest.raises(ValueError, match="two records"):
        sent.add(RecordPosition(1, 0), 12)


def test_letters_come_back_by_their_sources_and_those_that_nobody_asks_for_are_named(tmp_path: Path) -> None:
    letter = event_letter(source(BROKEN))
    elsewhere = letter._replace(source=(RecordPosition(0, 99), TIME))
    with DeadLetterPages(tmp_path, 10) as pages:
        for item in (letter, elsewhere, letter):
            pages.add(item)
        assert pages.read(2, range(10)) == {7: [letter, letter]}
        assert pages.unread() == [(0, 9)]


def test_one_complaint_fails_the_run_and_names_the_record() -> None:
    assert FuzzReport(1).passed
    report = FuzzReport(1)
    report.add_problem("a row is missing", 5)
    assert not report.passed
    assert (report.guilty, report.examples) == ([5], ["record 5: a row is missing"])


def test_what_is_owed_to_a_tombstone_is_nothing() -> None:
    assert expect_result(FuzzRecord("tombstone", None), PLACE) == ExpectedResult(
        FuzzRecord("tombstone", None), PLACE, None
    )
