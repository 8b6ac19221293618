"""The test oracle of demo and chaos: one mutation of the results for each rule, and each must be detected."""

from __future__ import annotations

import json
from hashlib import sha256
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from deploy.local.demo import report
from deploy.local.demo.careless import Message
from deploy.local.demo.comparison import (
    Differences,
    FoundDeadLetter,
    LetterKey,
    RowKey,
    compare_dead_letters,
    compare_rows,
    compare_skipped,
)
from deploy.local.demo.expectations import (
    PAGES,
    Expectations,
    ExpectedDeadLetter,
    ExpectedRows,
    RecordPosition,
)
from deploy.local.demo.result import DemoResult, InputSummary

if TYPE_CHECKING:
    from pathlib import Path

OWNER = ("0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081", "compiler", 20_454)
OTHER = ("1b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081", "parser", 20_454)
POSITION = RecordPosition(0, 7)
OTHER_KEY = (RecordPosition(1, 0), "cost_usd")
COST, EXIT_CODE = ("cost_usd", 0.5), ("exit_code", 0.0)
SENT = [
    ExpectedRows(OWNER, RecordPosition(0, 0), 1_000, dict([COST, EXIT_CODE])),
    ExpectedRows(OTHER, RecordPosition(1, 0), 1_000, dict([COST])),
]
DIGEST = sha256(b"garbage").hexdigest()
EXPECTED: dict[LetterKey, ExpectedDeadLetter] = {
    (POSITION, None): ExpectedDeadLetter("invalid_event", DIGEST),
    (POSITION, "cost_usd"): ExpectedDeadLetter("invalid_metric", "NaN"),
    (POSITION, "execution_time_ms"): ExpectedDeadLetter("row_refused", "-1e3"),
}


def letter(metric: str | None, error_class: str, content: str, position: RecordPosition = POSITION) -> FoundDeadLetter:
    return FoundDeadLetter(position, metric, error_class, "SomeRule", None, "in words", content)


LETTERS = [
    letter(None, "invalid_event", DIGEST),
    letter("cost_usd", "invalid_metric", "NaN"),
    letter("execution_time_ms", "row_refused", "-1000.0"),
]


def counts_of(differences: Differences) -> tuple[int, int, int]:
    return differences.lost, differences.duplicates, differences.wrong


def compare(
    sent: list[ExpectedRows], found: dict[RowKey, list[tuple[str, float]]], unexpected: Any = None
) -> tuple[int, int, int]:
    differences = Differences()
    compare_rows(sent, found, {} if unexpected is None else unexpected, differences)
    return counts_of(differences)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([EXIT_CODE, COST], (0, 0, 0)),
        ([COST], (1, 0, 0)),
        ([COST, COST, EXIT_CODE], (0, 1, 0)),
        ([COST, COST], (1, 1, 0)),
        ([("cost_usd", 0.6), EXIT_CODE], (0, 0, 1)),
        ([COST, EXIT_CODE, ("model", 1.0)], (0, 0, 1)),
    ],
    ids=["complete", "one missing", "one twice", "one in place of another", "other value", "never sent"],
)
def test_rows_that_are_lost_duplicated_or_wrong_are_counted(
    rows: list[tuple[str, float]], expected: tuple[int, int, int]
) -> None:
    assert compare(SENT, {OWNER: rows, OTHER: [COST]}) == expected


def test_rows_of_an_execution_that_was_never_sent_are_wrong() -> None:
    assert compare([], {OWNER: [COST, EXIT_CODE]}) == (0, 0, 2)


def test_the_row_of_the_later_event_replaces_the_earlier_one() -> None:
    sent = [
        ExpectedRows(OWNER, RecordPosition(0, 1), 2_000, {"cost_usd": 2.0}),
        ExpectedRows(OWNER, RecordPosition(0, 0), 1_000, {"cost_usd": 1.0}),
    ]

    assert compare_rows(sent, {OWNER: [("cost_usd", 2.0)]}, {}, Differences()) == 1
    assert compare(sent, {OWNER: [("cost_usd", 2.0)]}) == (0, 0, 0)
    assert compare(sent, {OWNER: [("cost_usd", 1.0)]}) == (0, 0, 1)


def test_either_of_two_events_of_one_millisecond_may_remain() -> None:
    sent = [ExpectedRows(OWNER, RecordPosition(0, n), 1_000, {"cost_usd": float(n)}) for n in (1, 2)]

    assert [compare(sent, {OWNER: [("cost_usd", value)]})[2] for value in (1.0, 2.0, 3.0)] == [0, 0, 1]


@pytest.mark.parametrize(("error_class", "wrong"), [("store_unavailable", 0), ("row_refused", 1)])
def test_only_an_outage_may_turn_a_valid_row_into_a_dead_letter(error_class: str, wrong: int) -> None:
    unexpected = {OTHER_KEY: letter("cost_usd", error_class, "0.5")}

    assert compare(SENT, {OWNER: [COST, EXIT_CODE]}, unexpected) == (0, 0, wrong)
    assert unexpected == {}


@pytest.mark.parametrize("allowed", [False, True])
def test_a_row_beside_its_dead_letter_is_a_duplicate_unless_repeats_are_allowed(allowed: bool) -> None:
    differences = Differences(repeats_allowed=allowed)
    outage = letter("cost_usd", "store_unavailable", "0.5")

    compare_rows(SENT[1:], {OTHER: [COST]}, {OTHER_KEY: outage}, differences)
    assert (differences.duplicates, differences.repeats["both"]) == (not allowed, allowed)

    compare_rows(SENT[1:], {OTHER: [("cost_usd", 0.6)]}, {OTHER_KEY: outage}, differences)
    assert differences.wrong == 1


@pytest.mark.parametrize(("committed", "lost"), [(0, 0), (1, 2)])
def test_what_an_unfinished_worker_has_not_committed_need_not_be_there(committed: int, lost: int) -> None:
    differences = Differences()

    def is_required(position: RecordPosition) -> bool:
        return position.offset < committed

    compare_rows(SENT[1:], {}, {}, differences, is_required)
    compare_dead_letters({OTHER_KEY: EXPECTED[POSITION, "cost_usd"]}, [], differences, is_required)
    assert counts_of(differences) == (lost, 0, 0)


def test_an_uncommitted_row_must_still_be_right() -> None:
    differences = Differences()
    rows = {OTHER: [("cost_usd", 9.0), ("model", 1.0)]}

    compare_rows(SENT[1:], rows, {}, differences, lambda _: False)

    assert counts_of(differences) == (0, 0, 2)


def test_an_uncommitted_later_event_may_already_have_replaced_the_row() -> None:
    sent = [ExpectedRows(OWNER, RecordPosition(0, n), n, {"cost_usd": float(n)}) for n in (0, 1)]

    for value, wrong in ((0.0, 0), (1.0, 0), (3.0, 1)):
        differences = Differences()
        compare_rows(sent, {OWNER: [("cost_usd", value)]}, {}, differences, lambda position: position.offset == 0)
        assert counts_of(differences) == (0, 0, wrong)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (LETTERS, (0, 0, 0)),
        ([letter(None, "too_large", DIGEST), *LETTERS[1:]], (0, 0, 0)),
        ([*LETTERS[:2], letter("execution_time_ms", "store_unavailable", "-1000.0")], (0, 0, 0)),
        (LETTERS[1:], (1, 0, 0)),
        ([*LETTERS, LETTERS[1]], (0, 1, 0)),
        ([letter(None, "invalid_event", "0"), *LETTERS[1:]], (0, 0, 1)),
        ([LETTERS[0], letter("cost_usd", "store_unavailable", "NaN"), LETTERS[2]], (0, 0, 1)),
        ([LETTERS[0], letter("cost_usd", "invalid_metric", "Infinity"), LETTERS[2]], (0, 0, 1)),
        ([*LETTERS[:2], letter("execution_time_ms", "row_refused", "-1001.0")], (0, 0, 1)),
    ],
    ids=[
        "complete", "a pointer", "refused row in an outage", "missing", "twice", "other bytes", "other class",
        "other literal", "other number",
    ],
)  # fmt: skip
def test_dead_letters_that_are_lost_duplicated_or_wrong_are_counted(
    found: list[FoundDeadLetter], expected: tuple[int, int, int]
) -> None:
    differences = Differences()

    assert compare_dead_letters(EXPECTED, found, differences) == {}
    assert counts_of(differences) == expected


def test_repeated_dead_letters_may_be_allowed() -> None:
    differences = Differences(repeats_allowed=True)

    compare_dead_letters(EXPECTED, [*LETTERS, LETTERS[1], LETTERS[1]], differences)

    assert not differences
    assert differences.repeats == {"letters": 2}


def test_unexpected_dead_letters_are_returned() -> None:
    extra = letter("exit_code", "row_refused", "0")

    assert compare_dead_letters(EXPECTED, [*LETTERS, extra], Differences()) == {(POSITION, "exit_code"): extra}


def test_skipped_metrics_are_compared_by_type() -> None:
    differences = Differences()

    compare_skipped({"string": 3, "null": 1}, {"string": 1, "null": 1, "array": 4}, differences)

    assert (differences.lost, differences.wrong) == (2, 4)


def test_expectations_follow_from_the_records_that_were_acknowledged(tmp_path: Path) -> None:
    document = {"execution_id": OWNER[0], "agent_name": OWNER[1], "completed_at": "2026-01-01T01:00:00+02:00"}
    metrics = {"cost_usd": 1, "ok": True, "model": "large", "execution_time_ms": -2, "score": float("nan")}

    with Expectations(tmp_path) as expectations:
        event = json.dumps(document | {"metrics": metrics}).encode()
        expectations.add_record(Message(None, event), RecordPosition(0, 0), 5)
        expectations.add_record(Message(None, None), RecordPosition(0, 1), 6)
        expectations.add_record(Message(None, b"garbage"), RecordPosition(1, 3), 7)

    assert (expectations.records, expectations.events, expectations.tombstones) == (3, 1, 1)
    assert (expectations.metrics, expectations.rows, expectations.skipped) == (5, 2, {"string": 1})
    assert expectations.ends == {0: 2, 1: 4}
    assert expectations.letters == {
        (RecordPosition(0, 0), "execution_time_ms"): ExpectedDeadLetter("row_refused", "-2"),
        (RecordPosition(0, 0), "score"): ExpectedDeadLetter("invalid_metric", "NaN"),
        (RecordPosition(1, 3), None): ExpectedDeadLetter("invalid_event", DIGEST),
    }
    owner = (OWNER[0], OWNER[1], 20_453)
    assert [row for digit in PAGES for row in expectations.read_page(digit)] == [
        ExpectedRows(owner, RecordPosition(0, 0), 5, {"cost_usd": 1.0, "ok": 1.0})
    ]


def build_result(**changes: object) -> DemoResult:
    """Three metrics: a row, a dead letter and a skipped one."""
    fields: dict[str, Any] = {
        "sources": InputSummary(measured=1), "records": 2, "events": 1, "unreadable": 1, "tombstones": 0,
        "metrics": 3, "rows": 1, "executions": 1, "replaced": 0, "letters": 1,
        "dead_letters": {"row_refused": (1, LETTERS[2]), "invalid_event": (1, LETTERS[0])},
        "skipped": {"string": 1}, "differences": Differences(), "uncommitted": 0, "exit_code": 0, "seconds": 0.5,
    }  # fmt: skip
    return DemoResult(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "balanced"),
    [
        ({"differences": Differences(lost=1)}, False),
        ({"differences": Differences(duplicates=1)}, False),
        ({"differences": Differences(wrong=1)}, False),
        ({"rows": 0}, False),
        ({"uncommitted": 1}, True),
        ({"exit_code": 1}, True),
        ({"exit_code": None}, True),
    ],
    ids=["lost", "duplicate", "wrong", "sum", "uncommitted", "exit code", "killed"],
)
def test_any_difference_fails_the_demo(changes: dict[str, object], balanced: bool) -> None:
    assert build_result().passed
    assert build_result(**changes).balanced is balanced
    assert not build_result(**changes).passed


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        (Differences(), "✔ everything accounted for: 0 lost, 0 duplicates"),
        (Differences(lost=2, examples=["lost: row x"]), "✘ not everything is accounted for: 2 lost, 0 duplicates"),
    ],
)
def test_the_report_has_the_verdict_and_examples(differences: Differences, verdict: str) -> None:
    written = StringIO()

    report.print_report(build_result(differences=differences), Console(file=written, width=80))

    lines = written.getvalue().splitlines()
    assert any(line.startswith(verdict) for line in lines)
    assert max(map(len, lines)) <= 80
    assert all(example in written.getvalue() for example in differences.examples)
