"""The numbers of the last minute that the status page shows, and the INSERTs that have no answer."""

from time import monotonic

import pytest

from tests.support.events import event, read
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.observability.activity import OpenInserts, Rates, RecentActivity


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def activity(now: list[float]) -> RecentActivity:
    return RecentActivity(clock=lambda: now[0])


def test_rates_cover_the_last_minute(activity: RecentActivity, now: list[float]) -> None:
    activity.count(events=600, rows=1_200)
    now[0] += 59
    activity.count(events=59, rows=0)
    assert activity.rates == Rates(59, events=659 / 59, rows=1_200 / 59)
    now[0] += 1
    assert activity.rates == Rates(60, events=59 / 60), "the first second is more than a minute ago"
    assert activity.totals == {"events": 659, "rows": 1_200, "dead_letters": 0}


def test_rates_of_the_first_second_are_not_too_high(activity: RecentActivity, now: list[float]) -> None:
    activity.count(events=10)
    now[0] += 0.1
    assert activity.rates == Rates(1.0, events=10.0)


def test_last_dead_letter_of_each_class_is_kept_with_their_number(activity: RecentActivity) -> None:
    def failed(error_class: ErrorClass, metric: str) -> tuple[FailedMetric, ErrorClass]:
        return FailedMetric(read(event()), metric, 1, Failure(error_class, "X", "x", 469), 1), error_class

    activity.count_dead_letters([failed(ErrorClass.ROW_REFUSED, "first"), failed(ErrorClass.INVALID_METRIC, "other")])
    activity.count_dead_letters([failed(ErrorClass.ROW_REFUSED, "x" * 1_000)])
    latest, earlier = activity.last_dead_letters
    assert latest[:2] == (ErrorClass.ROW_REFUSED, 2)
    assert latest.metric == "x" * 256, "a long name is shortened"
    assert (earlier.number, earlier.metric) == (1, "other")
    assert activity.totals["dead_letters"] == 3


def test_oldest_unanswered_insert_keeps_its_first_time_and_its_last_error() -> None:
    unanswered = OpenInserts()
    assert unanswered.oldest() == (0, "")
    now = monotonic()
    unanswered.record(1, now - 10, "first")
    unanswered.record(2, now - 5, "newer")
    unanswered.record(1, now - 1, "last")
    seconds, error = unanswered.oldest()
    assert 10 <= seconds < 60
    assert error == "last"
    unanswered.remove(1)
    assert unanswered.oldest()[1] == "newer"
