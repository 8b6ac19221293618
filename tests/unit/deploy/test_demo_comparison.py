"""The test oracle for rows of demo, chaos and fuzz: one mutation for each rule, and each must be detected."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from deploy.local.demo import report
from deploy.local.demo.comparison import Differences, FoundRow, RowKey, compare_rows, compare_skipped
from deploy.local.demo.dead_letters import FoundDeadLetter
from deploy.local.demo.expectations import DAY, EventFields, Expectations, ExpectedRows, RecordPosition
from deploy.local.demo.result import DemoResult, InputSummary
from deploy.local.demo.table import Counts
from deploy.local.demo.verification import Verification
from deploy.local.demo.worker_progress import WorkerProgress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ID = "0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081"
EVENT = EventFields(RecordPosition(0, 0), ID, "compiler", "user-1", (), 20_454 * DAY, 1_000)
COST, EXIT_CODE = FoundRow("cost_usd", 0.5, EVENT), FoundRow("exit_code", 0.0, EVENT)
SENT = [ExpectedRows(EVENT, {"cost_usd": 0.5, "exit_code": 0.0})]
COST_KEY = (EVENT.position, "cost_usd")


def changed(**changes: Any) -> FoundRow:
    return COST._replace(event=EVENT._replace(**changes))


def version(offset: int, recorded_at: int) -> FoundRow:
    """The cost of another record of the same execution; the offset is its value."""
    event = EVENT._replace(position=RecordPosition(0, offset), recorded_at=recorded_at)
    return FoundRow("cost_usd", float(offset), event)


def sent(*rows: FoundRow) -> list[ExpectedRows]:
    return [ExpectedRows(row.event, {row.metric: row.value}) for row in rows]


def letter(error_class: str) -> FoundDeadLetter:
    return FoundDeadLetter(*COST_KEY, error_class, "SomeRule", None, "in words", "0.5", 0, 0, None, ())


def compare(
    rows: Iterable[FoundRow],
    expected: list[ExpectedRows] = SENT,
    letters: dict[Any, FoundDeadLetter] | None = None,
    *,
    repeats: bool = False,
    committed: int = 9,
) -> Differences:
    differences = Differences(repeats_allowed=repeats)
    found: dict[RowKey, list[FoundRow]] = defaultdict(list)
    for row in rows:
        found[ExpectedRows(row.event, {}).owner].append(row)
    letters = {} if letters is None else letters
    compare_rows(expected, found, letters, differences, lambda position: position.offset < committed)
    return differences


def counts_of(differences: Differences) -> tuple[int, int, int]:
    return differences.lost, differences.duplicates, differences.wrong


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([EXIT_CODE, COST], (0, 0, 0)),
        ([COST], (1, 0, 0)),
        ([COST, COST, EXIT_CODE], (0, 1, 0)),
        ([COST, COST], (1, 1, 0)),
        ([COST._replace(value=0.6), EXIT_CODE], (0, 0, 1)),
        ([changed(user=None), EXIT_CODE], (0, 0, 1)),
        ([changed(completed_at=EVENT.completed_at + 1), EXIT_CODE], (0, 0, 1)),
        ([changed(recorded_at=1_001), EXIT_CODE], (0, 0, 1)),
        ([changed(position=RecordPosition(0, 1)), EXIT_CODE], (0, 0, 1)),
        ([COST, EXIT_CODE, COST._replace(metric="model")], (0, 0, 1)),
        ([COST, EXIT_CODE, changed(agent="parser")], (0, 0, 1)),
    ],
    ids=[
        "complete", "one missing", "one twice", "one in place of another", "value", "user", "completed_at",
        "recorded_at", "source", "another metric", "another owner",
    ],
)  # fmt: skip
def test_rows_that_are_lost_duplicated_or_wrong_are_counted(
    rows: list[FoundRow], expected: tuple[int, int, int]
) -> None:
    differences = compare(rows)

    assert counts_of(differences) == expected
    assert bool(differences.positions) == bool(differences.examples) == any(expected)


def test_the_row_of_the_later_event_replaces_the_earlier_one() -> None:
    both = sent(version(2, 2_000), version(1, 1_000))

    assert compare_rows(both, {both[0].owner: [version(2, 2_000)]}, {}, Differences(), lambda _: True) == 1
    assert counts_of(compare([version(2, 2_000)], both)) == (0, 0, 0)
    assert counts_of(compare([version(1, 1_000)], both)) == (0, 0, 1)


def test_of_two_events_of_one_millisecond_the_one_with_the_higher_offset_remains() -> None:
    both = sent(version(2, 1_000), version(1, 1_000))

    assert [compare([version(offset, 1_000)], both).wrong for offset in (1, 2, 3)] == [1, 0, 1]


def test_either_of_two_events_of_one_version_in_two_partitions_may_remain() -> None:
    two = [version(1, 1_000), changed(position=RecordPosition(1, 1), recorded_at=1_000)]

    assert [compare([row], sent(*two)).wrong for row in (*two, version(3, 1_000))] == [0, 0, 1]


@pytest.mark.parametrize(("error_class", "wrong"), [("store_unavailable", 0), ("row_refused", 1)])
def test_only_an_outage_may_turn_a_valid_row_into_a_dead_letter(error_class: str, wrong: int) -> None:
    unexpected = {COST_KEY: letter(error_class)}

    assert counts_of(compare([EXIT_CODE], SENT, unexpected)) == (0, 0, wrong)
    assert unexpected == {}


@pytest.mark.parametrize("allowed", [False, True])
def test_a_row_beside_its_dead_letter_is_a_duplicate_unless_repeats_are_allowed(allowed: bool) -> None:
    letters = {COST_KEY: letter("store_unavailable")}

    differences = compare([COST, EXIT_CODE], SENT, dict(letters), repeats=allowed)
    assert (differences.duplicates, differences.repeats["both"]) == (not allowed, allowed)

    assert compare([changed(user=None), EXIT_CODE], SENT, dict(letters), repeats=allowed).wrong == 1


@pytest.mark.parametrize(
    ("rows", "expected"), [([], (0, 0, 0)), ([COST._replace(value=9.0), COST._replace(metric="model")], (0, 0, 2))]
)
def test_an_uncommitted_row_may_be_missing_and_must_not_be_wrong(
    rows: list[FoundRow], expected: tuple[int, int, int]
) -> None:
    assert counts_of(compare(rows, committed=0)) == expected


def test_an_uncommitted_later_event_may_already_have_replaced_the_row() -> None:
    both = sent(version(0, 0), version(1, 1))

    assert [compare([version(at, at)], both, committed=1).wrong for at in (0, 1, 3)] == [0, 0, 1]


def test_skipped_metrics_are_compared_by_type() -> None:
    differences = Differences()

    compare_skipped("metrics", {"string": 3, "null": 1}, {"string": 1, "null": 1, "array": 4}, differences)

    assert (differences.lost, differences.wrong) == (2, 4)


@pytest.fixture
def right(tmp_path: Path) -> DemoResult:
    """Three metrics: a row, a dead letter and a skipped one."""
    with Expectations(tmp_path) as sent:
        sent.records, sent.events, sent.metrics = 2, 1, 3
    letters = {"row_refused": (1, letter("row_refused"))}
    found = Verification(Counts(1, 0, 1, 1), 0, 1, letters, Differences(), 0)
    return DemoResult(InputSummary(measured=1), sent, found, WorkerProgress(0.5, skipped={"string": 1}), 0)


def change(right: DemoResult, **changes: Any) -> DemoResult:
    """A result with changes to what was found, and to the exit code."""
    exit_code = changes.pop("exit_code", 0)
    return replace(right, found=replace(right.found, **changes), exit_code=exit_code)


@pytest.mark.parametrize(
    ("changes", "balanced"),
    [
        ({"differences": Differences(lost=1)}, False),
        ({"differences": Differences(duplicates=1)}, False),
        ({"differences": Differences(wrong=1)}, False),
        ({"counts": Counts(0, 0, 0, 1)}, False),
        ({"uncommitted": 1}, True),
        ({"exit_code": 1}, True),
        ({"exit_code": None}, True),
    ],
    ids=["lost", "duplicate", "wrong", "sum", "uncommitted", "exit code", "killed"],
)
def test_any_difference_fails_the_demo(right: DemoResult, changes: dict[str, object], balanced: bool) -> None:
    assert right.passed
    assert change(right, **changes).balanced is balanced
    assert not change(right, **changes).passed


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        (Differences(), "✔ everything accounted for: 0 lost, 0 duplicates"),
        (Differences(lost=2, examples=["lost: row x"]), "✘ not everything is accounted for: 2 lost, 0 duplicates"),
    ],
)
def test_the_report_has_the_verdict_and_examples(right: DemoResult, differences: Differences, verdict: str) -> None:
    written = StringIO()

    report.print_report(change(right, differences=differences), Console(file=written, width=80))

    lines = written.getvalue().splitlines()
    assert any(line.startswith(verdict) for line in lines)
    assert max(map(len, lines)) <= 80
    assert all(example in written.getvalue() for example in differences.examples)
