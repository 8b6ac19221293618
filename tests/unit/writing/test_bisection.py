"""Bisection as a pure state machine: whatever the outcomes, each row is written or fails once, by few INSERTs."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from math import ceil, log2
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import strategies  # noqa: F401 - sets the profile
from tests.support.events import block_of, many_events
from tests.support.fakes import CONSTRAINT, MISCONFIGURED, REFUSED, TOO_LARGE, UNAVAILABLE, UNCLASSIFIED
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Row
from worker.core.outcome import WRITTEN, Outcome, OutcomeKind
from worker.events.block import Block
from worker.writing.bisection import Bisection
from worker.writing.splitting import Piece, SplitBudget, WriteCounter

Store = Callable[[Block], Outcome]
RowRule = Callable[[Row], bool]
ANY_OUTCOME = st.sampled_from([WRITTEN, REFUSED, TOO_LARGE, UNAVAILABLE, MISCONFIGURED, UNCLASSIFIED])
HALF = frozenset(Random(1).sample(range(300), 150))
FEW_OR_MANY = st.integers(1, 12) | st.sampled_from([50, 300])


class Run:
    """Inserts the pieces of `block` into `store`; when the bisection must wait, it gives up.

    Attributes:
        inserts: how many rows each INSERT held.
        written: the rows of the pieces that were written.
        waits: how often the bisection had to wait.
    """

    def __init__(self, block: Block, store: Store, budget: SplitBudget | None = None) -> None:
        self.writes = WriteCounter()
        self.bisection = Bisection(Piece(block), budget or SplitBudget(), self.writes)
        self.inserts: list[int] = []
        self.written: list[Row] = []
        self.waits = 0
        self._store = store

    def to_end(self, on_wait: Callable[[Outcome], object] | None = None) -> "Run":
        """Insert until each row is written or has failed."""
        while (piece := self.bisection.next_piece()) is not None:
            outcome = self._store(piece.block)
            self.inserts.append(len(piece.block))
            if outcome.kind is OutcomeKind.WRITTEN:
                self.written += piece.block.rows()
            if self.bisection.report(piece, outcome).must_wait:
                self.waits += 1
                (on_wait or self.bisection.give_up)(outcome)
        return self

    @property
    def failed(self) -> list[FailedMetric]:
        return self.bisection.failed

    @property
    def failed_values(self) -> list[float]:
        """The values of the failed rows: in blocks of `make_block` the positions of the rows."""
        return sorted(float(str(item.value)) for item in self.failed)

    @property
    def classes(self) -> set[ErrorClass]:
        return {item.failure.error_class for item in self.failed}

    def ends_each_row_of(self, block: Block) -> bool:
        """Whether each row was written or has failed, once."""
        return identities([*self.written, *self.failed]) == identities(block.rows())


def identities(rows: Iterable[Row | FailedMetric]) -> Counter[tuple[object, str]]:
    return Counter((row.event.execution_id, row.metric) for row in rows)


def make_block(events: int, metrics: int) -> Block:
    """A block whose values are the positions of its rows."""
    return block_of(many_events(events), [f"metric_{number}" for number in range(metrics)])


def refusing(is_invalid: RowRule, outcome: Outcome = REFUSED) -> Store:
    return lambda block: outcome if any(map(is_invalid, block.rows())) else WRITTEN


# Any sequence of outcomes


@given(FEW_OR_MANY, st.integers(1, 5), st.lists(ANY_OUTCOME, max_size=60), st.lists(st.booleans(), max_size=20))
@example(events=4, metrics=2, script=[REFUSED, WRITTEN, UNAVAILABLE], gives_up=[True])  # after a part is written
def test_any_outcomes_end_each_row_once(events: int, metrics: int, script: list[Outcome], gives_up: list[bool]) -> None:
    block = make_block(events, metrics)
    outcomes, decisions = iter(script), iter(gives_up)
    run = Run(block, lambda _: next(outcomes, WRITTEN))

    def give_up_or_wait(outcome: Outcome) -> None:
        if next(decisions, False):
            run.bisection.give_up(outcome)

    run.to_end(give_up_or_wait)
    assert run.ends_each_row_of(block)
    # Each outcome but `written` splits a piece into 24 at most; nothing is inserted that is already written.
    assert len(run.inserts) <= 1 + 25 * len(script)


@given(FEW_OR_MANY, st.integers(1, 40), st.lists(st.sampled_from([WRITTEN, REFUSED, UNCLASSIFIED]), min_size=1))
def test_inserts_are_bounded_by_the_budget_whatever_the_outcomes(
    events: int, metrics: int, cycle: list[Outcome]
) -> None:
    block = make_block(events, metrics)
    number = iter(range(10**9))
    run = Run(block, lambda _: cycle[next(number) % len(cycle)], SplitBudget(max_pieces=60)).to_end()
    assert run.ends_each_row_of(block)
    # 60 parts, the 16 that the last split may add, the reserved ones; a suspect is inserted three times at most.
    assert len(run.inserts) <= 1 + 3 * (60 + 16 + 8)


# Refused rows


@given(FEW_OR_MANY, st.integers(1, 20), st.sets(st.integers(0, 400), max_size=6))
def test_invalid_rows_fail_alone_and_no_other_row_fails(events: int, metrics: int, invalid: set[int]) -> None:
    block = make_block(events, metrics)
    run = Run(block, refusing(lambda row: row.value in invalid), SplitBudget(10**6, 10**6, 10**6)).to_end()
    assert set(run.failed_values) == invalid & set(range(len(block)))
    assert run.classes <= {ErrorClass.ROW_REFUSED}
    assert all(item.failure.isolated for item in run.failed)
    assert len(run.inserts) <= 1 + len(run.failed) * (2 * 16 + 2 * ceil(log2(len(block) + 1)))


def test_block_is_split_by_metric_first() -> None:
    run = Run(make_block(8, 10), refusing(lambda row: row.metric == "metric_3")).to_end()
    assert Counter(item.metric for item in run.failed) == {"metric_3": 8}
    assert run.inserts[:11] == [80, *[8] * 10]


def test_known_violating_rows_are_removed_with_two_inserts() -> None:
    run = Run(make_block(50, 4), lambda _: WRITTEN)
    outcome = REFUSED._replace(constraint=CONSTRAINT, message="violated at row 8. Column values: metric_value = 7")
    run.bisection.report(run.bisection.next_piece(), outcome, violating=[7, 9, 199])  # type: ignore[arg-type]
    assert run.to_end().inserts == [197]
    assert run.failed_values == [7, 9, 199]
    assert {item.failure.message for item in run.failed} == {CONSTRAINT.message}, "not the values of another row"
    assert all(item.failure.isolated for item in run.failed)


# The budget


def test_metric_without_a_written_row_is_isolated_eight_times_only() -> None:
    budget = SplitBudget()
    run = Run(make_block(600, 10), refusing(lambda row: row.metric == "metric_3"), budget).to_end()
    assert Counter(item.metric for item in run.failed) == {"metric_3": 600}
    assert sum(item.failure.isolated for item in run.failed) == budget.max_single_refusals
    assert len(run.inserts) <= 50


@pytest.mark.parametrize(
    ("events", "metrics", "is_invalid"),
    [
        pytest.param(3_000, 1, lambda row: row.value % 250 == 3, id="few rows of one metric"),
        pytest.param(300, 1, lambda row: row.value in HALF, id="half of the rows of one metric, at random"),
        pytest.param(100, 60, lambda row: row.value % 61 == 0 and row.value < 976, id="a row of each of 16 metrics"),
    ],
)
def test_budget_suffices_to_isolate_every_invalid_row(events: int, metrics: int, is_invalid: RowRule) -> None:
    block = make_block(events, metrics)
    run = Run(block, refusing(is_invalid)).to_end()
    assert run.failed_values == [row.value for row in block.rows() if is_invalid(row)]


def test_valid_half_of_a_metric_is_not_refused_with_the_other_half() -> None:
    run = Run(make_block(2_000, 1), refusing(lambda row: row.value < 1_000)).to_end()
    assert set(run.failed_values) <= set(range(1_000))


def test_budget_is_shared_by_the_blocks_of_a_batch() -> None:
    budget = SplitBudget()
    first, second = (
        Run(make_block(300, 2), refusing(lambda row: row.metric == "metric_1"), budget).to_end() for _ in range(2)
    )
    assert len(second.inserts) < 10 < len(first.inserts)


def test_metric_that_another_block_of_the_batch_has_written_is_isolated() -> None:
    budget = SplitBudget(max_pieces_in_doubt=0)
    Run(make_block(3, 1), lambda _: WRITTEN, budget).to_end()
    assert Run(make_block(8, 1), refusing(lambda row: row.value == 5), budget).to_end().failed_values == [5]


# Unclassified failures


@pytest.mark.parametrize("invalid", range(40))
def test_row_that_fails_is_refused_unless_too_few_rows_are_left_to_write(invalid: int) -> None:
    run = Run(make_block(20, 2), refusing(lambda row: row.value == invalid, UNCLASSIFIED)).to_end()
    is_last_of_the_reserve = invalid in {32, 33}
    assert run.failed_values == [invalid]
    assert run.classes == {ErrorClass.STORE_UNAVAILABLE if is_last_of_the_reserve else ErrorClass.ROW_REFUSED}
    assert run.failed[0].failure.isolated


def test_metric_that_fails_while_others_are_written_is_refused() -> None:
    run = Run(make_block(200, 10), refusing(lambda row: row.metric == "metric_0", UNCLASSIFIED)).to_end()
    assert {item.metric for item in run.failed} == {"metric_0"}
    assert run.classes == {ErrorClass.ROW_REFUSED}
    assert len(run.inserts) < 120


@pytest.mark.parametrize("share", [0.0005, 0.005, 0.02, 0.2])
def test_many_failing_rows_take_a_few_hundred_inserts_when_other_blocks_are_written(share: float) -> None:
    random = Random(20261128)
    block = make_block(5_000, 10)
    invalid = {row.value for row in block.rows() if random.random() < share}
    run = Run(block, refusing(lambda row: row.value in invalid, UNCLASSIFIED))

    def write_another_block(_: Outcome) -> None:
        run.writes.record_write()

    run.to_end(write_another_block)
    assert len(run.inserts) < 1_000
    assert run.waits < 100
    assert invalid <= set(run.failed_values)
    assert all(item.value in invalid for item in run.failed if item.failure.isolated)


def test_failures_of_an_outage_do_not_count_against_the_rows() -> None:
    """Twenty rows fail alone while the store is down; none of them is refused for that later."""
    inserts = iter(range(10**9))
    run = Run(make_block(50, 1), lambda _: UNCLASSIFIED if next(inserts) < 199 else WRITTEN)
    assert run.to_end(lambda _: None).failed == []


@given(st.integers(4, 60), st.integers(1, 6), st.sets(st.integers(0, 400), max_size=3))
def test_valid_row_is_never_refused(events: int, metrics: int, invalid: set[int]) -> None:
    block = make_block(events, metrics)
    run = Run(block, refusing(lambda row: row.value in invalid, UNCLASSIFIED)).to_end()
    assert {item.value for item in run.failed if item.failure.error_class is ErrorClass.ROW_REFUSED} <= invalid
    assert run.ends_each_row_of(block)


def test_row_is_refused_after_three_failures_alone_with_a_write_between_each() -> None:
    history: list[str] = []

    def store(block: Block) -> Outcome:
        if any(row.value == 2 for row in block.rows()):
            history.append("failed alone" if len(block) == 1 else "failed")
            return UNCLASSIFIED
        history.append("written")
        return WRITTEN

    assert Run(make_block(20, 1), store).to_end().failed_values == [2]
    alone = [position for position, event in enumerate(history) if event == "failed alone"]
    assert len(alone) == 3
    assert all("written" in history[before:after] for before, after in pairwise(alone))


# Too large


def test_too_large_piece_is_split_in_halves_and_spends_no_budget() -> None:
    budget = SplitBudget()
    run = Run(make_block(10, 10), lambda block: TOO_LARGE if len(block) > 30 else WRITTEN, budget).to_end()
    assert run.failed == []
    assert run.inserts == [100, 50, 50, 25, 25, 25, 25]
    assert budget.spent == 0
