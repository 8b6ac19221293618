"""Bisection as a pure state machine: whatever the outcomes, each row is written or fails once, by few INSERTs."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from math import ceil, log2
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies  # noqa: F401 - sets the profile
from tests.support.events import block_of, many_events
from tests.support.fakes import CONSTRAINT, MISCONFIGURED, REFUSED, TOO_LARGE, UNAVAILABLE, UNCLASSIFIED
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Row
from worker.core.outcome import WRITTEN, Outcome, OutcomeKind
from worker.events.block import Block
from worker.writing.bisection import Bisection, WriteCounter
from worker.writing.splitting import Piece, SplitBudget

Store = Callable[[Block], Outcome]
ANY_OUTCOME = st.sampled_from([WRITTEN, REFUSED, TOO_LARGE, UNAVAILABLE, MISCONFIGURED, UNCLASSIFIED])
FEW_OR_MANY = st.integers(1, 12) | st.sampled_from([50, 300])


class Walk:
    """Inserts the pieces of `block` into `store` until the bisection ends, or is stuck with no hope of change."""

    def __init__(self, block: Block, store: Store, budget: SplitBudget | None = None) -> None:
        self.bisection = Bisection(Piece(block), budget or SplitBudget(), WriteCounter())
        self.inserts: list[int] = []
        self.written: list[Row] = []
        self._store = store

    def step(self, piece: Piece) -> Outcome:
        outcome = self._store(piece.block)
        piece.attempts += 1
        self.inserts.append(len(piece.block))
        if outcome.kind is OutcomeKind.WRITTEN:
            self.written += piece.block.rows()
        self.bisection.report(piece, outcome)
        return outcome

    def run(self) -> "Walk":
        while (piece := self.bisection.next_piece()) is not None:
            outcome = self.step(piece)
            if self.bisection.must_wait:
                self.bisection.give_up(outcome)
        return self

    @property
    def failed(self) -> list[FailedMetric]:
        return self.bisection.failed


def rows(failed: list[FailedMetric]) -> Counter[tuple[object, str]]:
    return Counter((item.event.execution_id, item.metric) for item in failed)


def identities(block_rows: Iterator[Row] | list[Row]) -> Counter[tuple[object, str]]:
    return Counter((row.event.execution_id, row.metric) for row in block_rows)


def a_block(events: int, metrics: int) -> Block:
    return block_of(many_events(events), [f"metric_{number}" for number in range(metrics)])


def refusing(invalid: Callable[[Row], bool], outcome: Outcome = REFUSED) -> Store:
    return lambda block: outcome if any(map(invalid, block.rows())) else WRITTEN


class TestAnySequenceOfOutcomes:
    @given(FEW_OR_MANY, st.integers(1, 5), st.lists(ANY_OUTCOME, max_size=60), st.data())
    def test_ends_each_row_once(self, events: int, metrics: int, script: list[Outcome], data: st.DataObject) -> None:
        block = a_block(events, metrics)
        outcomes = iter(script)
        walk = Walk(block, lambda _: next(outcomes, WRITTEN))
        while (piece := walk.bisection.next_piece()) is not None:
            outcome = walk.step(piece)
            if walk.bisection.must_wait and data.draw(st.booleans()):
                walk.bisection.give_up(outcome)
        assert identities(walk.written) + rows(walk.failed) == identities(block.rows())
        # Each outcome but `written` cuts a piece into 24 at most; nothing is inserted that is already written.
        assert len(walk.inserts) <= 1 + 25 * len(script)

    @given(FEW_OR_MANY, st.integers(1, 40), st.lists(st.sampled_from([WRITTEN, REFUSED, UNCLASSIFIED]), min_size=1))
    def test_repeated_for_ever_is_bounded_by_the_budget(self, events: int, metrics: int, cycle: list[Outcome]) -> None:
        block = a_block(events, metrics)
        budget = SplitBudget(max_pieces=60)
        number = iter(range(10**9))
        walk = Walk(block, lambda _: cycle[next(number) % len(cycle)], budget).run()
        assert identities(walk.written) + rows(walk.failed) == identities(block.rows())
        # 60 parts, the 16 that the last cut may add, the reserved ones; a suspect is inserted three times at most
        assert len(walk.inserts) <= 1 + 3 * (60 + 16 + 8)


class TestInvalidRows:
    @given(FEW_OR_MANY, st.integers(1, 20), st.sets(st.integers(0, 400), max_size=6))
    def test_fail_alone_and_no_other_row_does(self, events: int, metrics: int, invalid: set[int]) -> None:
        block = a_block(events, metrics)  # the values are the positions
        budget = SplitBudget(10**6, 10**6, 10**6)
        walk = Walk(block, refusing(lambda row: row.value in invalid), budget).run()
        assert {item.value for item in walk.failed} == invalid & set(range(len(block)))
        assert {item.failure.error_class for item in walk.failed} <= {ErrorClass.ROW_REFUSED}
        assert all(item.failure.isolated for item in walk.failed)
        k = len(walk.failed)
        assert len(walk.inserts) <= 1 + k * (2 * 16 + 2 * ceil(log2(len(block) + 1)))

    @pytest.mark.parametrize("seed", range(5))
    def test_three_among_a_hundred_thousand_take_at_most_a_hundred_inserts(self, seed: int) -> None:
        block = a_block(10_000, 10)
        invalid = {(seed * 7_919 + number * 33_331) % len(block) for number in range(3)}
        walk = Walk(block, refusing(lambda row: row.value in invalid)).run()
        assert {item.value for item in walk.failed} == invalid
        assert len(walk.inserts) <= 100

    def test_of_one_metric_leave_the_others_in_one_insert_each(self) -> None:
        walk = Walk(a_block(8, 10), refusing(lambda row: row.metric == "metric_3")).run()
        assert rows(walk.failed) == Counter(dict.fromkeys(rows(walk.failed), 1))
        assert {item.metric for item in walk.failed} == {"metric_3"}
        assert walk.inserts[:11] == [80, *[8] * 10]

    def test_count_the_inserts_that_held_them(self) -> None:
        walk = Walk(a_block(4, 2), refusing(lambda row: row.value == 0)).run()
        assert [item.attempts for item in walk.failed] == [4]  # 8 rows, 4 of one metric, 2, 1


class TestAConstraintThatTheStoreEvaluates:
    def test_removes_its_rows_with_two_inserts(self) -> None:
        block = a_block(50, 4)
        bisection = Bisection(Piece(block), SplitBudget(), WriteCounter())
        outcome = REFUSED._replace(constraint=CONSTRAINT, message="violated at row 8. Column values: metric_value = 7")
        piece = bisection.next_piece()
        assert piece is not None
        bisection.report(piece, outcome, violating=[7, 9, 199])
        others = bisection.next_piece()
        assert others is not None
        assert len(others.block) == 197
        bisection.report(others, WRITTEN)
        assert bisection.next_piece() is None
        assert sorted(float(str(item.value)) for item in bisection.failed) == [7, 9, 199]
        assert {item.failure.message for item in bisection.failed} == {CONSTRAINT.violated}, "not another row's values"
        assert all(item.failure.isolated for item in bisection.failed)


class TestTheIsolationBudget:
    def test_ends_the_isolation_of_a_metric_of_which_nothing_was_written(self) -> None:
        budget = SplitBudget()
        walk = Walk(a_block(600, 10), refusing(lambda row: row.metric == "metric_3"), budget).run()
        assert {item.metric for item in walk.failed} == {"metric_3"}
        assert len(walk.failed) == 600
        assert sum(item.failure.isolated for item in walk.failed) == budget.max_single_refusals
        assert len(walk.inserts) <= 50

    def test_goes_on_isolating_metrics_of_which_rows_were_written(self) -> None:
        block = a_block(3_000, 1)
        walk = Walk(block, refusing(lambda row: row.value % 250 == 3)).run()
        assert sorted(float(str(item.value)) for item in walk.failed) == [*range(3, 3_000, 250)]
        assert all(item.failure.isolated for item in walk.failed)

    @pytest.mark.parametrize("seed", range(5))
    def test_finds_the_valid_rows_of_a_metric_that_is_often_invalid(self, seed: int) -> None:
        """Every second row is invalid, at random: no piece of more than a few rows is written."""
        random = Random(seed)
        block = a_block(300, 1)
        invalid = {row.value for row in block.rows() if random.random() < 0.5}
        walk = Walk(block, refusing(lambda row: row.value in invalid)).run()
        assert {item.value for item in walk.failed} == invalid

    def test_isolates_few_rows_of_many_metrics(self) -> None:
        """Sixty metrics, of which sixteen have an invalid row, each in another group of the first cut."""
        block = a_block(100, 60)
        invalid = {row.value for row in block.rows() if row.value % 61 == 0 and row.value < 16 * 61}
        walk = Walk(block, refusing(lambda row: row.value in invalid)).run()
        assert {item.value for item in walk.failed} == invalid
        assert all(item.failure.isolated for item in walk.failed)

    def test_looks_at_every_part_of_a_metric_before_it_is_spent(self) -> None:
        """The first half is invalid: the second half must not be refused with it."""
        walk = Walk(a_block(2_000, 1), refusing(lambda row: row.value < 1_000)).run()
        assert {item.value for item in walk.failed} <= set(range(1_000))

    @pytest.mark.parametrize(
        "invalid", [lambda row: row.value % 3 == 0, lambda _: True, lambda row: row.metric < "metric_3"]
    )
    def test_is_limited_whatever_is_refused(self, invalid: Callable[[Row], bool]) -> None:
        budget = SplitBudget()
        block = a_block(1_000, 40)
        walk = Walk(block, refusing(invalid), budget).run()
        assert len(walk.inserts) <= budget.max_pieces + 1 + 16
        assert identities(walk.written) + rows(walk.failed) == identities(block.rows())

    def test_is_shared_by_the_blocks_of_a_batch(self) -> None:
        budget = SplitBudget()
        first = Walk(a_block(300, 2), refusing(lambda row: row.metric == "metric_1"), budget).run()
        second = Walk(a_block(300, 2), refusing(lambda row: row.metric == "metric_1"), budget).run()
        assert len(second.inserts) < 10 < len(first.inserts)

    def test_remembers_what_other_blocks_of_the_batch_have_written(self) -> None:
        budget = SplitBudget(max_pieces_in_doubt=0)
        Walk(a_block(3, 1), refusing(lambda _: False), budget).run()
        walk = Walk(a_block(8, 1), refusing(lambda row: row.value == 5), budget).run()
        assert [item.value for item in walk.failed] == [5]


class TestAnUnclassifiedCode:
    @pytest.mark.parametrize("invalid", sorted({*range(40)} - {32, 33}))
    def test_refuses_a_row_that_fails_while_others_are_written(self, invalid: int) -> None:
        walk = Walk(a_block(20, 2), refusing(lambda row: row.value == invalid, UNCLASSIFIED)).run()
        assert [item.value for item in walk.failed] == [invalid]
        assert {item.failure.error_class for item in walk.failed} == {ErrorClass.ROW_REFUSED}
        assert all(item.failure.isolated for item in walk.failed)

    def test_refuses_the_rows_of_a_metric_that_fails_while_others_are_written(self) -> None:
        walk = Walk(a_block(200, 10), refusing(lambda row: row.metric == "metric_0", UNCLASSIFIED)).run()
        assert {item.metric for item in walk.failed} == {"metric_0"}
        assert {item.failure.error_class for item in walk.failed} == {ErrorClass.ROW_REFUSED}
        assert len(walk.inserts) < 120

    def test_of_a_row_after_which_too_few_are_left_to_write_is_unavailable(self) -> None:
        """The last of the reserved rows."""
        block = a_block(20, 1)
        walk = Walk(block, refusing(lambda row: row.value == 12, UNCLASSIFIED)).run()
        assert [(item.value, item.failure.error_class) for item in walk.failed] == [(12, ErrorClass.STORE_UNAVAILABLE)]

    @pytest.mark.parametrize("share", [0.0005, 0.005, 0.02, 0.2])
    def test_of_many_rows_ends_after_few_hundred_inserts_when_other_blocks_are_written(self, share: float) -> None:
        random = Random(20261128)
        block = a_block(5_000, 10)
        invalid = {row.value for row in block.rows() if random.random() < share}
        writes = WriteCounter()
        bisection = Bisection(Piece(block), SplitBudget(), writes)
        inserts = waits = 0
        while (piece := bisection.next_piece()) is not None:
            inserts += 1
            fails = any(row.value in invalid for row in piece.block.rows())
            bisection.report(piece, UNCLASSIFIED if fails else WRITTEN)
            if bisection.must_wait:
                waits += 1
                writes.pieces += 1
        assert inserts < 1_000
        assert waits < 100
        assert invalid <= {item.value for item in bisection.failed}
        assert all(item.value in invalid for item in bisection.failed if item.failure.isolated)

    def test_that_was_an_outage_first_does_not_count_against_the_rows(self) -> None:
        """Twenty rows fail alone while the store is down; when it is back, none of them is refused for that."""
        writes = WriteCounter()
        bisection = Bisection(Piece(a_block(50, 1)), SplitBudget(), writes)
        inserts = 0
        while (piece := bisection.next_piece()) is not None:
            inserts += 1
            bisection.report(piece, UNCLASSIFIED if inserts < 200 else WRITTEN)
        assert bisection.failed == []

    @given(st.integers(4, 60), st.integers(1, 6), st.sets(st.integers(0, 400), max_size=3))
    def test_never_fails_a_valid_row_while_rows_are_written(self, events: int, metrics: int, invalid: set[int]) -> None:
        block = a_block(events, metrics)
        walk = Walk(block, refusing(lambda row: row.value in invalid, UNCLASSIFIED)).run()
        refused = [item for item in walk.failed if item.failure.error_class is ErrorClass.ROW_REFUSED]
        assert {item.value for item in refused} <= invalid
        assert identities(walk.written) + rows(walk.failed) == identities(block.rows())

    def test_refuses_a_row_only_after_three_failures_alone_with_a_written_piece_between_each(self) -> None:
        history: list[str] = []

        def store(block: Block) -> Outcome:
            if any(row.value == 2 for row in block.rows()):
                history.append("failed alone" if len(block) == 1 else "failed")
                return UNCLASSIFIED
            history.append("written")
            return WRITTEN

        walk = Walk(a_block(20, 1), store).run()
        assert [item.value for item in walk.failed] == [2]
        alone = [position for position, event in enumerate(history) if event == "failed alone"]
        assert len(alone) == 3
        for before, after in zip(alone, islice(alone, 1, None), strict=False):
            assert "written" in history[before:after]

    @pytest.mark.parametrize("events", [1, 2, 20, 2_000])
    def test_of_every_insert_is_stuck_after_few_inserts(self, events: int) -> None:
        walk = Walk(a_block(events, 3), lambda _: UNCLASSIFIED).run()
        assert {item.failure.error_class for item in walk.failed} == {ErrorClass.STORE_UNAVAILABLE}
        assert len(walk.failed) == 3 * events
        assert len(walk.inserts) <= 45

    def test_goes_on_where_it_was_when_the_store_is_back(self) -> None:
        block, failing = a_block(40, 3), True
        walk = Walk(block, lambda _: UNCLASSIFIED if failing else WRITTEN)
        while (piece := walk.bisection.next_piece()) is not None:
            walk.step(piece)
            failing = failing and not walk.bisection.must_wait
        assert walk.failed == []
        assert identities(walk.written) == identities(block.rows())

    def test_of_a_lone_row_is_judged_by_what_other_blocks_write_meanwhile(self) -> None:
        writes = WriteCounter()
        bisection = Bisection(Piece(a_block(1, 1)), SplitBudget(), writes)
        for failure in range(3):
            piece = bisection.next_piece()
            assert piece is not None
            bisection.report(piece, UNCLASSIFIED)
            assert bisection.must_wait or failure == 2
            writes.pieces += 1
        assert bisection.next_piece() is None
        assert [item.failure.error_class for item in bisection.failed] == [ErrorClass.ROW_REFUSED]

    def test_of_a_lone_row_waits(self) -> None:
        bisection = Bisection(Piece(a_block(1, 1)), SplitBudget(), WriteCounter())
        for _ in range(10):
            piece = bisection.next_piece()
            assert piece is not None
            bisection.report(piece, UNCLASSIFIED)
            assert bisection.must_wait


class TestOutcomesThatSayNothingOfTheRows:
    @pytest.mark.parametrize("outcome", [UNAVAILABLE, MISCONFIGURED])
    def test_never_cut_a_piece(self, outcome: Outcome) -> None:
        block = a_block(5, 2)
        bisection = Bisection(Piece(block), SplitBudget(), WriteCounter())
        for _ in range(5):
            piece = bisection.next_piece()
            assert piece is not None
            assert piece.block is block, "the same rows, and so the same token"
            bisection.report(piece, outcome)
            assert bisection.must_wait

    def test_in_the_middle_keep_what_is_known(self) -> None:
        outcomes = iter([REFUSED, WRITTEN, UNAVAILABLE])
        walk = Walk(a_block(4, 2), lambda _: next(outcomes)).run()
        assert len(walk.written) == 4
        assert {item.failure.error_class for item in walk.failed} == {ErrorClass.STORE_UNAVAILABLE}
        assert identities(walk.written) + rows(walk.failed) == identities(a_block(4, 2).rows())

    def test_too_large_cuts_in_halves_and_spends_no_budget(self) -> None:
        budget = SplitBudget()
        walk = Walk(a_block(10, 10), lambda block: TOO_LARGE if len(block) > 30 else WRITTEN, budget).run()
        assert walk.failed == []
        assert walk.inserts == [100, 50, 50, 25, 25, 25, 25]
        assert budget.spent == 0
