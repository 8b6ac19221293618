"""The budget and the pace of retries."""

import traceback
import weakref
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies  # noqa: F401  # sets the profile
from tests.support.clock import Clock
from worker.retry import UNTIL_DONE, RetryPolicy


class Trouble(Exception):
    pass


class Server:
    """Fails as often as it is told; each answer takes its time."""

    def __init__(self, clock: Clock, failures: int, seconds: float = 0.0) -> None:
        self.asked_at: list[float] = []
        self._clock = clock
        self._failures = failures
        self._seconds = seconds

    async def ask(self) -> str:
        self.asked_at.append(self._clock.monotonic())
        self._clock.advance(self._seconds)
        if len(self.asked_at) <= self._failures:
            raise Trouble(len(self.asked_at))
        return "answer"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock by which tenacity measures the time as well."""
    clock = Clock()
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


async def test_an_answer_ends_it(clock: Clock) -> None:
    server = Server(clock, failures=2)
    assert await RetryPolicy(attempts=5).retrying(Trouble, clock.sleep)(server.ask) == "answer"
    assert len(server.asked_at) == 3


@pytest.mark.parametrize("attempts", [1, 2, 7])
async def test_the_attempts_are_bounded_and_the_last_error_comes_through(clock: Clock, attempts: int) -> None:
    server = Server(clock, failures=1_000)
    with pytest.raises(Trouble, match=str(attempts)):
        await RetryPolicy(attempts, max_seconds=1e9).retrying(Trouble, clock.sleep)(server.ask)
    assert len(server.asked_at) == attempts


@pytest.mark.parametrize("seconds", [0.0, 3.0, 30.0])
async def test_no_attempt_begins_later_than_the_budget_of_time_allows(clock: Clock, seconds: float) -> None:
    policy = RetryPolicy(attempts=1_000, max_seconds=10.0, first_wait_seconds=1.0, max_wait_seconds=8.0)
    for _ in range(20):  # the waits are random
        server = Server(clock, failures=1_000, seconds=seconds)
        with pytest.raises(Trouble):
            await policy.retrying(Trouble, clock.sleep)(server.ask)
        assert server.asked_at[-1] - server.asked_at[0] < 10.0


async def test_another_error_is_not_tried_again(clock: Clock) -> None:
    server = Server(clock, failures=1_000)
    with pytest.raises(Trouble):
        await RetryPolicy(attempts=9).retrying(KeyError, clock.sleep)(server.ask)
    assert len(server.asked_at) == 1


async def test_waits_are_random_below_a_bound_that_doubles() -> None:
    clock = Clock()
    policy = RetryPolicy(attempts=200, max_seconds=1e9, first_wait_seconds=0.5, max_wait_seconds=8.0)
    with pytest.raises(Trouble):
        await policy.retrying(Trouble, clock.sleep)(Server(clock, failures=1_000).ask)
    bounds = [min(0.5 * 2**number, 8.0) for number in range(len(clock.slept))]
    assert all(0 <= wait <= bound for wait, bound in zip(clock.slept, bounds, strict=True))
    assert len(set(clock.slept)) > 150
    assert max(clock.slept) > 6


@given(st.integers(1, 20), st.floats(0, 60))
async def test_the_pace_has_no_end_whatever_the_budget(attempts: int, max_seconds: float) -> None:
    clock = Clock()
    server = Server(clock, failures=50)
    policy = RetryPolicy(attempts, max_seconds, first_wait_seconds=1.0, max_wait_seconds=2.0)
    async for attempt in policy.without_end(Trouble, clock.sleep):
        with attempt:
            await server.ask()
    assert len(server.asked_at) == 51
    assert max(clock.slept) <= 2.0


async def test_until_done_goes_on_at_a_slow_pace() -> None:
    clock = Clock()
    server = Server(clock, failures=2_000)
    assert await UNTIL_DONE.retrying(Trouble, clock.sleep)(server.ask) == "answer"
    assert max(clock.slept) <= 15.0
    assert sum(clock.slept) / len(clock.slept) > 5.0


class Rows:
    """Something large that an insert holds while it runs."""


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("attempts", [1, 3], ids=["refused at once", "given up"])
async def test_what_failed_is_not_kept_until_a_collection(attempts: int, clock: Clock) -> None:
    kept: list[weakref.ref[Rows]] = []

    async def insert() -> None:
        rows = Rows()
        kept.append(weakref.ref(rows))
        raise Trouble(rows)

    async def write() -> str:
        try:
            await RetryPolicy(attempts=attempts).retrying(Trouble, clock.sleep)(insert)
        except Trouble as error:
            return "".join(traceback.format_exception(error))
        return ""

    said = await write()

    assert len(kept) == attempts
    assert [rows() for rows in kept] == [None] * attempts
    assert "raise Trouble(rows)" in said, "the traceback still tells where"
