"""How many dead letters were open at each hour, and the drawing of it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from worker.console.open_over_time import HourlyCounts, OpenOverTime
from worker.console.plot import HEIGHT, WIDTH, draw

HOUR = 3_600_000
NOW = 500_000 * HOUR + 1_800_000
times = st.integers(-(2**62), 2**62)


def test_dead_letters_count_from_their_failure_until_they_are_settled() -> None:
    counts = OpenOverTime(NOW)
    counts.add(NOW - 30 * HOUR, NOW - 2 * HOUR)
    counts.add(NOW - 30 * HOUR, None)
    counts.add(NOW - 2 * HOUR, None)
    counts.add(NOW, NOW)
    found = counts.summarize()
    assert found.first == 499_970 * HOUR
    assert found.counts == [2] * 28 + [2, 2, 2]
    assert found.highest == 2


def test_a_quiet_topic_is_a_day_of_nothing() -> None:
    assert OpenOverTime(NOW).summarize() == HourlyCounts(499_977 * HOUR, [0] * 24)


def test_what_is_older_than_a_month_counts_from_the_beginning() -> None:
    counts = OpenOverTime(NOW)
    counts.add(NOW - 2_000 * HOUR, None)
    counts.add(NOW - 2_000 * HOUR, NOW - 3 * HOUR)
    assert counts.summarize().counts == [2] * 20 + [1] * 4


@given(st.lists(st.tuples(times, st.none() | times), max_size=30))
def test_any_times_give_at_most_a_month_and_end_with_what_is_open(letters: list[tuple[int, int | None]]) -> None:
    counts = OpenOverTime(NOW)
    for failed_at, settled_at in letters:
        counts.add(failed_at, settled_at)
    found = counts.summarize()
    assert 24 <= len(found.counts) <= 720
    assert min(found.counts) >= 0
    assert found.counts[-1] == sum(settled_at is None for _, settled_at in letters)
    plot = draw(found)
    assert plot.line.endswith(f"H{WIDTH}")
    numbers = [float(number) for number in re.findall(r"[\d.]+", plot.area)]
    assert all(0 <= number <= max(WIDTH, HEIGHT) for number in numbers)


def test_drawing_has_a_step_where_the_count_changes_and_no_other() -> None:
    plot = draw(HourlyCounts(0, [0, 0, 4, 4, 1, 1]))
    assert plot.line == "M0,120.0H240.0V0.0H480.0V90.0H720"
    assert draw(HourlyCounts(0, [0] * 24)).line == "M0,120.0H720"


def test_counts_stay_until_the_next_scan() -> None:
    assert HourlyCounts(0, [3, 1]).extend(2 * HOUR - 1) == HourlyCounts(0, [3, 1])
    assert HourlyCounts(0, [3, 1]).extend(4 * HOUR) == HourlyCounts(0, [3, 1, 1, 1, 1])
    assert HourlyCounts(0, [3, 1]).extend(720 * HOUR) == HourlyCounts(HOUR, [1] * 720)
    assert HourlyCounts(0, [3, 1]).extend(0) == HourlyCounts(0, [3, 1])
