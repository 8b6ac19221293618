"""Where refused rows are split."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import block_of, many_events
from worker.core.model import Row
from worker.core.times import DAY
from worker.writing.splitting import split_by_metric, split_in_half, split_off_middle, split_off_reserve


def rows_of(events: int, metrics: int) -> list[Row]:
    return list(block_of(many_events(events), [f"metric_{number}" for number in range(metrics)]).rows())


@pytest.mark.parametrize(("metrics", "groups"), [(4, 4), (60, 16)])
def test_rows_are_split_by_metric_into_at_most_sixteen_groups(metrics: int, groups: int) -> None:
    names = [{row.metric for row in part} for part in split_by_metric(rows_of(2, metrics))]
    assert len(names) == groups
    assert sum(map(len, names)) == metrics == len(set.union(*names))


def test_rows_of_one_metric_are_split_in_the_middle_and_the_middle_row_is_the_sample() -> None:
    rows = rows_of(5, 1)
    assert split_by_metric(rows) == [rows[:2], rows[2:]] == split_in_half(rows)
    assert split_off_middle(rows) == (rows[2], [*rows[:2], *rows[3:]])


@given(st.integers(1, 9), st.integers(1, 9))
def test_reserved_rows_are_few_of_different_metrics_and_leave_at_least_one(events: int, metrics: int) -> None:
    rows = rows_of(events, metrics)
    reserved, others = split_off_reserve(rows)
    assert len(reserved) == min(8, len(rows) - 1)
    assert len({row.metric for row in reserved}) == min(len(reserved), metrics)
    assert Counter(map(id, [*reserved, *others])) == Counter(map(id, rows))


def test_reserved_rows_are_of_as_many_months_as_possible() -> None:
    """A write of the others is the evidence that one month alone fails."""
    old = [
        row._replace(event=row.event._replace(completed_at=row.event.completed_at - 40 * DAY)) for row in rows_of(20, 1)
    ]
    new = rows_of(20, 1)
    reserved, _ = split_off_reserve([*new, *old])
    assert reserved == [new[-1], old[-1], new[-2], old[-2], new[-3], old[-3], new[-4], old[-4]]
