"""Where refused rows are split."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.events import block_of, many_events
from worker.core.model import Row
from worker.writing.splitting import split_by_metric, split_in_half, split_off_middle, split_off_reserve


def rows_of(events: int, metrics: int) -> list[Row]:
    return list(block_of(many_events(events), [f"metric_{number}" for number in range(metrics)]).rows())


@given(strategies.row_lists().filter(lambda lists: lists[0]))
def test_the_parts_are_the_same_rows(lists: list[list[Row]]) -> None:
    for parts in (split_by_metric(lists[0]), split_in_half(lists[0])):
        assert Counter(map(id, lists[0])) == Counter(id(row) for part in parts for row in part)
        assert all(parts)
        assert len(parts) > 1 or len(lists[0]) == 1


def test_rows_of_several_metrics_are_split_by_metric() -> None:
    parts = split_by_metric(rows_of(5, 4))
    assert [{row.metric for row in part} for part in parts] == [{f"metric_{number}"} for number in range(4)]


def test_rows_of_many_metrics_are_split_into_sixteen_groups_that_share_no_metric() -> None:
    parts = split_by_metric(rows_of(2, 60))
    names = [{row.metric for row in part} for part in parts]
    assert len(parts) == 16
    assert sum(map(len, names)) == 60 == len(set.union(*names))


def test_rows_of_one_metric_are_split_in_the_middle() -> None:
    rows = rows_of(5, 1)
    assert split_by_metric(rows) == [rows[:2], rows[2:]] == split_in_half(rows)


def test_a_sample_is_the_row_in_the_middle() -> None:
    rows = rows_of(5, 1)
    assert split_off_middle(rows) == (rows[2], [*rows[:2], *rows[3:]])


@given(st.integers(1, 9), st.integers(1, 9))
def test_reserved_rows_are_few_and_leave_at_least_one(events: int, metrics: int) -> None:
    rows = rows_of(events, metrics)
    reserved, others = split_off_reserve(rows)
    assert len(reserved) == min(8, len(rows) - 1)
    assert Counter(map(id, [*reserved, *others])) == Counter(map(id, rows))


def test_reserved_rows_are_of_different_metrics_where_there_are_some() -> None:
    reserved, _ = split_off_reserve(rows_of(5, 9))
    assert len({row.metric for row in reserved}) == 8
