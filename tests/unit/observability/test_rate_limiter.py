"""Repeated log lines are limited, and nothing is lost from the sum."""

from collections.abc import Callable

import pytest

from worker.observability.rate_limiter import INTERVAL_SECONDS, LINES_PER_KEY, MAX_KEYS, LogRateLimiter

FIELDS = {"error_class": "row_refused", "metric": "cost", "source": "not part of the kind"}


class Timers:
    """Timers that a test ends."""

    def __init__(self) -> None:
        self.running: list[Callable[[], object]] = []

    def start(self, seconds: float, function: Callable[[], object]) -> None:
        assert seconds == INTERVAL_SECONDS
        self.running.append(function)

    def end(self) -> None:
        self.running.pop()()


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def summaries() -> list[dict[str, object]]:
    return []


@pytest.fixture
def limiter(timers: Timers, summaries: list[dict[str, object]]) -> LogRateLimiter:
    return LogRateLimiter(lambda summary: summaries.append(dict(summary)), timers.start)


def test_summary_is_logged_when_the_interval_ends_without_another_line(
    limiter: LogRateLimiter, timers: Timers, summaries: list[dict[str, object]]
) -> None:
    allowed = [limiter.allows("dead letter", FIELDS) for _ in range(LINES_PER_KEY + 2)]
    assert allowed == [True] * LINES_PER_KEY + [False] * 2
    timers.end()
    seconds = summaries[0].pop("seconds")
    assert isinstance(seconds, float)
    assert summaries == [
        {"of": "dead letter", "error_class": "row_refused", "metric": "cost", "logged": LINES_PER_KEY, "withheld": 2}
    ]
    assert timers.running == [], "no timer runs without lines"


def test_new_interval_begins_with_the_next_line(
    limiter: LogRateLimiter, timers: Timers, summaries: list[dict[str, object]]
) -> None:
    for _ in range(3):
        assert limiter.allows("dead letter", FIELDS)
    timers.end()
    assert [limiter.allows("dead letter", FIELDS) for _ in range(LINES_PER_KEY)] == [True] * LINES_PER_KEY
    assert len(timers.running) == 1
    timers.end()
    assert summaries == [], "nothing was withheld"


def test_number_of_kinds_is_bounded_and_no_line_is_lost(
    limiter: LogRateLimiter, summaries: list[dict[str, object]]
) -> None:
    allowed = sum(limiter.allows(f"event {key % 7}", {"metric": f"m{key}", "error_code": key}) for key in range(9_999))
    limiter.flush()
    assert allowed <= LINES_PER_KEY * (2 * MAX_KEYS + 7)
    assert allowed + sum(int(str(summary["withheld"])) for summary in summaries) == 9_999


def test_timer_is_a_real_one_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.observability.rate_limiter.INTERVAL_SECONDS", 0.0)
    summaries: list[object] = []
    limiter = LogRateLimiter(summaries.append)
    while not summaries:
        limiter.allows("dead letter", {})
