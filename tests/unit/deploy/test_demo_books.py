"""The demo's books: they must notice whatever is missing, doubled or different."""

from __future__ import annotations

import json
from hashlib import sha256
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from deploy.local.demo import report
from deploy.local.demo.careless import Message
from deploy.local.demo.comparison import Differences, FoundDeadLetter, compare_letters, compare_rows, compare_skipped
from deploy.local.demo.expectations import PAGES, Expectations, ExpectedDeadLetter, ExpectedRows, RecordPosition
from deploy.local.demo.result import DemoResult, InputSummary

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.local.demo.comparison import LetterKey

OWNER = ("0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081", "compiler", 20_454)
OTHER = ("1b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081", "parser", 20_454)
HERE = RecordPosition(0, 7)


def letter(metric: str | None, error_class: str, proof: str, position: RecordPosition = HERE) -> FoundDeadLetter:
    return FoundDeadLetter(position, metric, error_class, "SomeRule", None, "in words", proof)


def differences_of_rows(
    sent: list[ExpectedRows],
    found: dict[tuple[str, str, int], list[tuple[str, float]]],
    stray: dict[LetterKey, FoundDeadLetter] | None = None,
) -> tuple[int, int, int]:
    differences = Differences()
    compare_rows(sent, found, stray if stray is not None else {}, differences)
    return differences.lost, differences.duplicates, differences.wrong


def differences_of_letters(
    owed: dict[LetterKey, ExpectedDeadLetter], found: list[FoundDeadLetter]
) -> tuple[int, int, int]:
    differences = Differences()
    compare_letters(owed, found, differences)
    return differences.lost, differences.duplicates, differences.wrong


SENT = [
    ExpectedRows(OWNER, RecordPosition(0, 0), 1_000, {"cost_usd": 0.5, "exit_code": 0.0}),
    ExpectedRows(OTHER, RecordPosition(1, 0), 1_000, {"cost_usd": 0.5}),
]


@pytest.mark.parametrize(
    ("rows", "others", "difference"),
    [
        ([("exit_code", 0.0), ("cost_usd", 0.5)], [("cost_usd", 0.5)], (0, 0, 0)),
        ([("cost_usd", 0.5)], [("cost_usd", 0.5)], (1, 0, 0)),
        ([], [("cost_usd", 0.5)], (2, 0, 0)),
        ([("cost_usd", 0.5), ("cost_usd", 0.5), ("exit_code", 0.0)], [("cost_usd", 0.5)], (0, 1, 0)),
        ([("cost_usd", 0.5), ("cost_usd", 0.5)], [("cost_usd", 0.5)], (1, 1, 0)),
        ([("cost_usd", 0.6), ("exit_code", 0.0)], [("cost_usd", 0.5)], (0, 0, 1)),
        ([("cost_usd", 0.5), ("exit_code", 0.0), ("model", 1.0)], [("cost_usd", 0.5)], (0, 0, 1)),
    ],
    ids=["all there", "one missing", "all missing", "one twice", "one in place of another", "other value", "not sent"],
)
def test_rows_are_compared_one_by_one(
    rows: list[tuple[str, float]], others: list[tuple[str, float]], difference: tuple[int, int, int]
) -> None:
    assert differences_of_rows(SENT, {OWNER: rows, OTHER: others}) == difference


def test_rows_of_an_execution_that_was_never_sent_are_wrong() -> None:
    assert differences_of_rows([], {OWNER: [("cost_usd", 0.5), ("exit_code", 0.0)]}) == (0, 0, 2)


def test_of_two_events_of_one_execution_the_later_one_is_owed() -> None:
    sent = [
        ExpectedRows(OWNER, RecordPosition(0, 1), 2_000, {"cost_usd": 2.0}),
        ExpectedRows(OWNER, RecordPosition(0, 0), 1_000, {"cost_usd": 1.0}),
    ]
    differences = Differences()

    assert compare_rows(sent, {OWNER: [("cost_usd", 2.0)]}, {}, differences) == 1
    assert not differences
    assert differences_of_rows(sent, {OWNER: [("cost_usd", 1.0)]}) == (0, 0, 1)


def test_of_two_events_within_one_millisecond_either_may_stay() -> None:
    sent = [ExpectedRows(OWNER, RecordPosition(0, offset), 1_000, {"cost_usd": float(offset)}) for offset in (1, 2)]

    for value, wrong in ((1.0, 0), (2.0, 0), (3.0, 1)):
        assert differences_of_rows(sent, {OWNER: [("cost_usd", value)]}) == (0, 0, wrong)


def test_a_row_that_became_a_dead_letter_in_an_outage_is_not_lost() -> None:
    stray: dict[LetterKey, FoundDeadLetter] = {
        (RecordPosition(1, 0), "cost_usd"): letter("cost_usd", "store_unavailable", "0.5")
    }
    there = {OWNER: [("cost_usd", 0.5), ("exit_code", 0.0)]}

    assert differences_of_rows(SENT, there, stray) == (0, 0, 0)
    assert stray == {}


def test_a_row_that_is_a_dead_letter_too_is_a_duplicate_unless_repeats_are_allowed() -> None:
    there = {OWNER: [("cost_usd", 0.5), ("exit_code", 0.0)], OTHER: [("cost_usd", 0.5)]}

    for allowed in (False, True):
        stray: dict[LetterKey, FoundDeadLetter] = {
            (RecordPosition(1, 0), "cost_usd"): letter("cost_usd", "store_unavailable", "0.5")
        }
        differences = Differences(repeats_allowed=allowed)
        compare_rows(SENT, there, stray, differences)
        assert (differences.duplicates, differences.repeats["both"]) == (not allowed, allowed)


def test_of_a_row_that_is_a_dead_letter_too_the_value_must_be_right() -> None:
    stray: dict[LetterKey, FoundDeadLetter] = {
        (RecordPosition(1, 0), "cost_usd"): letter("cost_usd", "store_unavailable", "0.5")
    }
    differences = Differences(repeats_allowed=True)

    compare_rows(SENT[1:], {OTHER: [("cost_usd", 0.6)]}, stray, differences)

    assert differences.wrong == 1


def test_of_an_unfinished_worker_only_what_is_committed_is_owed() -> None:
    for committed, lost in ((0, 0), (1, 1)):
        differences = Differences()
        compare_rows(SENT[1:], {}, {}, differences, lambda position, end=committed: position.offset < end)  # type: ignore[misc]
        compare_letters(
            {(RecordPosition(1, 0), "score"): OWED[HERE, "cost_usd"]},
            [],
            differences,
            lambda position: position.offset < 0,
        )
        assert differences.lost == lost


def test_a_row_of_an_unfinished_worker_must_be_right_all_the_same() -> None:
    differences = Differences()

    compare_rows(SENT[1:], {OTHER: [("cost_usd", 9.0), ("model", 1.0)]}, {}, differences, lambda _: False)

    assert (differences.lost, differences.wrong) == (0, 2)


def test_the_later_event_may_be_there_before_it_is_committed() -> None:
    sent = [
        ExpectedRows(OWNER, RecordPosition(0, 0), 1_000, {"cost_usd": 1.0}),
        ExpectedRows(OWNER, RecordPosition(0, 1), 2_000, {"cost_usd": 2.0}),
    ]

    for value, wrong in ((1.0, 0), (2.0, 0), (3.0, 1)):
        differences = Differences()
        compare_rows(sent, {OWNER: [("cost_usd", value)]}, {}, differences, lambda position: position.offset == 0)
        assert (differences.lost, differences.wrong) == (0, wrong)


def test_a_sound_row_that_was_dead_lettered_as_refused_is_wrong() -> None:
    stray: dict[LetterKey, FoundDeadLetter] = {
        (RecordPosition(1, 0), "cost_usd"): letter("cost_usd", "row_refused", "0.5")
    }

    assert differences_of_rows(SENT, {OWNER: [("cost_usd", 0.5), ("exit_code", 0.0)]}, stray) == (0, 0, 1)


DIGEST = sha256(b"garbage").hexdigest()
OWED: dict[LetterKey, ExpectedDeadLetter] = {
    (HERE, None): ExpectedDeadLetter("invalid_event", DIGEST),
    (HERE, "cost_usd"): ExpectedDeadLetter("invalid_metric", "NaN"),
    (HERE, "execution_time_ms"): ExpectedDeadLetter("row_refused", "-1e3"),
}
LETTERS = [
    letter(None, "invalid_event", DIGEST),
    letter("cost_usd", "invalid_metric", "NaN"),
    letter("execution_time_ms", "row_refused", "-1000.0"),
]


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (LETTERS, (0, 0, 0)),
        ([letter(None, "too_large", DIGEST), *LETTERS[1:]], (0, 0, 0)),
        (LETTERS[1:], (1, 0, 0)),
        ([*LETTERS, LETTERS[1]], (0, 1, 0)),
        ([letter(None, "invalid_event", sha256(b"other").hexdigest()), *LETTERS[1:]], (0, 0, 1)),
        ([LETTERS[0], letter("cost_usd", "row_refused", "NaN"), LETTERS[2]], (0, 0, 1)),
        ([LETTERS[0], letter("cost_usd", "invalid_metric", "Infinity"), LETTERS[2]], (0, 0, 1)),
        ([*LETTERS[:2], letter("execution_time_ms", "row_refused", "-1001.0")], (0, 0, 1)),
    ],
    ids=["all there", "a pointer", "missing", "twice", "other bytes", "other class", "other literal", "other number"],
)
def test_dead_letters_are_compared_one_by_one(found: list[FoundDeadLetter], difference: tuple[int, int, int]) -> None:
    assert differences_of_letters(OWED, found) == difference


def test_a_dead_letter_that_came_again_may_be_allowed() -> None:
    differences = Differences(repeats_allowed=True)

    compare_letters(OWED, [*LETTERS, LETTERS[1], LETTERS[1]], differences)

    assert not differences
    assert differences.repeats == {"letters": 2}


def test_a_row_that_would_be_refused_may_be_a_dead_letter_of_an_outage() -> None:
    found = [*LETTERS[:2], letter("execution_time_ms", "store_unavailable", "-1000.0")]

    assert differences_of_letters(OWED, found) == (0, 0, 0)
    assert (
        differences_of_letters(OWED, [LETTERS[0], letter("cost_usd", "store_unavailable", "NaN"), LETTERS[2]])[2] == 1
    )


def test_dead_letters_that_were_not_owed_are_handed_back() -> None:
    extra = letter("exit_code", "row_refused", "0")

    assert compare_letters(OWED, [*LETTERS, extra], Differences()) == {(HERE, "exit_code"): extra}


def test_skipped_metrics_are_compared_by_type() -> None:
    differences = Differences()

    compare_skipped({"string": 3, "null": 1}, {"string": 1, "null": 1, "array": 4}, differences)

    assert (differences.lost, differences.wrong) == (2, 4)


def test_the_ledger_takes_down_what_is_owed(tmp_path: Path) -> None:
    sound = {"execution_id": OWNER[0], "agent_name": OWNER[1], "completed_at": "2026-01-01T01:00:00+02:00"}
    metrics: dict[str, Any] = {
        "cost_usd": 1,
        "ok": True,
        "model": "large",
        "execution_time_ms": -2,
        "score": float("nan"),
    }

    ledger = Expectations(tmp_path)
    with ledger:
        ledger.enter(Message(None, json.dumps(sound | {"metrics": metrics}).encode()), RecordPosition(0, 0), 5)
        ledger.enter(Message(None, None), RecordPosition(0, 1), 6)
        ledger.enter(Message(None, b"garbage"), RecordPosition(1, 3), 7)

    assert (ledger.records, ledger.events, ledger.tombstones, ledger.metrics, ledger.rows) == (3, 1, 1, 5, 2)
    assert ledger.skipped == {"string": 1}
    assert ledger.ends == {0: 2, 1: 4}
    assert ledger.letters == {
        (RecordPosition(0, 0), "execution_time_ms"): ExpectedDeadLetter("row_refused", "-2"),
        (RecordPosition(0, 0), "score"): ExpectedDeadLetter("invalid_metric", "NaN"),
        (RecordPosition(1, 3), None): ExpectedDeadLetter("invalid_event", DIGEST),
    }
    day_in_utc = 20_453
    owner = (OWNER[0], OWNER[1], day_in_utc)
    pages = {digit: list(ledger.page(digit)) for digit in PAGES}
    assert pages.pop("0") == [ExpectedRows(owner, RecordPosition(0, 0), 5, {"cost_usd": 1.0, "ok": 1.0})]
    assert not any(pages.values())


def outcome(**changes: object) -> DemoResult:
    """Three metrics: a row, a dead letter and one that was skipped."""
    fields: dict[str, Any] = {
        "sources": InputSummary(measured=1),
        "records": 2,
        "events": 1,
        "unreadable": 1,
        "tombstones": 0,
        "metrics": 3,
        "rows": 1,
        "executions": 1,
        "replaced": 0,
        "letters": 1,
        "dead_letters": {"row_refused": (1, LETTERS[2]), "invalid_event": (1, LETTERS[0])},
        "skipped": {"string": 1},
        "differences": Differences(),
        "uncommitted": 0,
        "exit_code": 0,
        "seconds": 0.5,
    }
    return DemoResult(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "balanced"),
    [
        ({"rows": 0, "differences": Differences(lost=1)}, False),
        ({"rows": 2, "differences": Differences(duplicates=1)}, False),
        ({"differences": Differences(wrong=1)}, False),
        ({"rows": 0}, False),
        ({"uncommitted": 1}, True),
        ({"exit_code": 1}, True),
        ({"exit_code": None}, True),
    ],
    ids=["lost", "duplicate", "wrong", "the sum is not right", "uncommitted", "exit code", "had to be killed"],
)
def test_whatever_is_amiss_fails_the_demo(changes: dict[str, object], balanced: bool) -> None:
    spoilt = outcome(**changes)

    assert outcome().passed
    assert spoilt.balanced is balanced
    assert not spoilt.passed


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        (Differences(), "✔ books balance: 0 lost, 0 duplicates"),
        (Differences(lost=2, examples=["lost: the row x"]), "✘ books do not balance: 2 lost, 0 duplicates, 0 wrong"),
    ],
)
def test_the_report_says_how_the_books_stand(differences: Differences, verdict: str) -> None:
    written = StringIO()

    report.show(outcome(differences=differences), Console(file=written, width=80))

    lines = written.getvalue().splitlines()
    assert verdict in [line.rstrip() for line in lines]
    assert max(map(len, lines)) <= 80
    assert all(example in written.getvalue() for example in differences.examples)
