"""The fuzzer: worker and reference agree on its records, and a broken reader is detected."""

from __future__ import annotations

import json
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from deploy.local.demo.comparison import Differences
from deploy.local.demo.expectations import Expectations, RecordPosition
from deploy.local.demo.table import Counts
from deploy.local.demo.verification import Verification
from tests.fuzz.__main__ import SHORT_RECORDS
from tests.fuzz.corpus import CORPUS, LARGE
from tests.fuzz.generate import (
    FIRST_MUTATION,
    HOSTILE_FROM,
    LARGE_IN_A_ROW,
    MORE_LARGE,
    ONLY_LARGE,
    ORDINARY,
    make_record,
)
from tests.fuzz.in_process import Disagreement, find_disagreements
from tests.fuzz.report import FuzzReport
from tests.support.readings import read_with_worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.local.demo.reference import Reading
    from tests.fuzz.in_process import Reader
    from tests.support.events import Record

MUTATIONS = range(FIRST_MUTATION, FIRST_MUTATION + 300)


def disagreements(numbers: Sequence[int], reader: Reader = read_with_worker) -> list[Disagreement]:
    return list(find_disagreements(7, numbers, monotonic() + 60, lambda _: None, reader))


def read_until_the_first_failure(record: Record) -> Reading:
    """A worker with one `try` around the loop: a metric that fails loses all metrics after it."""
    right = read_with_worker(record)
    names = list(json.loads(record.value or b"{}").get("metrics", ())) if right.refused else []
    first = next((position for position, name in enumerate(names) if name in right.refused), len(names))
    rows = {name: value for name, value in right.rows.items() if name not in names[first:]}
    return replace(right, rows=rows)


def fail_to_read(_: Record) -> Reading:
    raise RecursionError("too deep")


def test_worker_and_reference_agree_on_the_corpus_and_the_first_mutations() -> None:
    small = [number for number, (name, _) in enumerate(CORPUS, ORDINARY) if name != LARGE]

    assert disagreements([*small, *MUTATIONS]) == []


def test_every_run_has_large_records_in_a_row_and_a_longer_run_has_more() -> None:
    first = FIRST_MUTATION - LARGE_IN_A_ROW
    numbers = [first, first + 1, FIRST_MUTATION - 1, MORE_LARGE[0], MORE_LARGE[-1], ONLY_LARGE]
    assert {make_record(7, number).kind.partition(":")[0] for number in numbers} <= {"amplified", "oversized"}
    assert FIRST_MUTATION < SHORT_RECORDS < MORE_LARGE[0]


def test_every_run_has_a_batch_that_can_be_read_only_in_part() -> None:
    """The corpus grows, and must not take its place."""
    assert make_record(7, HOSTILE_FROM).kind == "hostile batch"
    assert HOSTILE_FROM < SHORT_RECORDS


def test_a_reader_that_loses_metrics_or_raises_is_detected() -> None:
    found = disagreements(MUTATIONS, read_until_the_first_failure)
    assert found
    assert all(record == make_record(7, number) and problem for number, record, problem in found)

    problems = {one.problem for one in disagreements(MUTATIONS[:20], fail_to_read)}
    assert problems == {"raised RecursionError: too deep"}


def test_each_kind_of_problem_fails_the_run(tmp_path: Path) -> None:
    at = RecordPosition(0, 7)
    lost = Differences(lost=1, examples=["lost: a row"], positions=[at, RecordPosition(0, 8)])
    right = Verification(Counts(0, 0, 0, 0), 0, 0, {}, Differences(), 0)

    def report(**changes: object) -> FuzzReport:
        report = FuzzReport(1)
        with Expectations(tmp_path) as nothing:
            report.add_results(nothing, Verification(**(vars(right) | changes)), {at: 5})
        return report

    assert report().passed
    assert (report(differences=lost).problems, report(differences=lost).guilty) == (1, [5])
    assert not report(uncommitted=1).passed
    assert not report(dead_letters={"store_unavailable": (1, None)}).passed
