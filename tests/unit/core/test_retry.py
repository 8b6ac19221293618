"""The budget of retries and the waits between them."""

import asyncio
import traceback
import weakref
from types import SimpleNamespace

import pytest

from tests.support import strategies  # noqa: F401  # sets the profile
from tests.support.clock import FakeClock
from worker.core.retry import RetryPolicy


class Trouble(Exception):
    pass


class Server:
    """Fails so many times, and takes so long for each call."""

    def __init__(self, clock: FakeClock, failures: int, seconds: float = 0.0) -> None:
        self.asked_at: list[float] = []
        self._clock = clock
        self._failures = failures
        self._seconds = seconds

    async def ask(self) -> str:
        self.asked_at.append(self._clock.monotonic())
        self._clock.advance(self._seconds)
        return "answer" if len(self.asked_at) > self._failures else f"failure {len(self.asked_at)}"

    async def ask_or_raise(self) -> str:
        answer = await self.ask()
        if is_failure(answer):
            raise Trouble(answer)
        return answer


def is_failure(answer: str) -> bool:
    return answer != "answer"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """A clock that tenacity uses too."""
    clock = FakeClock()
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.mark.parametrize(
    ("attempts", "failures", "result", "calls"),
    [(5, 0, "answer", 1), (5, 2, "answer", 3), (1, 9, "failure 1", 1), (7, 9, "failure 7", 7)],
)
async def test_retry_ends_with_the_first_accepted_result_or_after_the_attempts(
    clock: FakeClock, attempts: int, failures: int, result: str, calls: int
) -> None:
    server = Server(clock, failures)
    assert await RetryPolicy(attempts, max_seconds=1e9).call(server.ask, is_failure, clock.sleep) == result
    assert len(server.asked_at) == calls
    assert len(clock.slept) == calls - 1


@pytest.mark.parametrize("seconds", [0.0, 3.0, 30.0])
async def test_no_attempt_begins_after_max_seconds(clock: FakeClock, seconds: float) -> None:
    policy = RetryPolicy(attempts=1_000, max_seconds=10.0, first_wait_seconds=1.0, max_wait_seconds=8.0)
    for _ in range(20):  # the waits are random
        server = Server(clock, failures=1_000, seconds=seconds)
        assert await policy.call(server.ask, is_failure, clock.sleep) == f"failure {len(server.asked_at)}"
        assert server.asked_at[-1] - server.asked_at[0] < 10.0


@pytest.mark.parametrize(("attempts", "calls"), [(1, 0), (4, 3)])
async def test_first_attempt_of_the_caller_counts(clock: FakeClock, attempts: int, calls: int) -> None:
    server = Server(clock, failures=1_000)
    policy = RetryPolicy(attempts, max_seconds=1e9)
    assert (await policy.call_again("failure 0", 0.0, server.ask, is_failure, clock.sleep)) == f"failure {calls}"
    assert len(server.asked_at) == calls
    assert len(clock.slept) == calls


async def test_time_of_the_first_attempt_counts(clock: FakeClock) -> None:
    policy = RetryPolicy(attempts=1_000, max_seconds=10.0, first_wait_seconds=1.0, max_wait_seconds=8.0)
    for _ in range(20):  # the waits are random
        server, begin = Server(clock, failures=1_000, seconds=1.0), clock.monotonic()
        await policy.call_again("failure 0", 6.0, server.ask, is_failure, clock.sleep)
        assert all(at - begin < 4.0 for at in server.asked_at)
    server = Server(clock, failures=1_000)
    assert await policy.call_again("failure 0", 10.0, server.ask, is_failure, clock.sleep) == "failure 0"


async def test_exception_is_raised_at_once_and_not_retried(clock: FakeClock) -> None:
    server = Server(clock, failures=1_000)
    with pytest.raises(Trouble, match="failure 1"):
        await RetryPolicy(attempts=9).call(server.ask_or_raise, is_failure, clock.sleep)
    assert len(server.asked_at) == 1


async def test_waits_are_random_below_a_bound_that_doubles() -> None:
    clock = FakeClock()
    policy = RetryPolicy(attempts=200, max_seconds=1e9, first_wait_seconds=0.5, max_wait_seconds=8.0)
    await policy.call(Server(clock, failures=1_000).ask, is_failure, clock.sleep)
    bounds = [min(0.5 * 2**number, 8.0) for number in range(len(clock.slept))]
    assert len(clock.slept) == 199
    assert all(0 <= wait <= bound for wait, bound in zip(clock.slept, bounds, strict=True))
    assert len(set(clock.slept)) > 150
    assert max(clock.slept) > 6


class Rows:
    """Something large that an insert refers to while it runs."""


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("end", ["result", "exception", "cancellation"])
async def test_rows_are_freed_without_a_collection(end: str, attempts: int, clock: FakeClock) -> None:
    kept: list[weakref.ref[Rows]] = []

    async def insert() -> str:
        rows = Rows()
        kept.append(weakref.ref(rows))
        if len(kept) == attempts and end == "exception":
            raise Trouble(rows)
        if len(kept) == attempts and end == "cancellation":
            raise asyncio.CancelledError
        return "failure"

    async def write() -> str:
        try:
            return await RetryPolicy(attempts=attempts).call(insert, is_failure, clock.sleep)
        except (Trouble, asyncio.CancelledError) as error:
            return "".join(traceback.format_exception(error))

    text = await write()
    assert len(kept) == attempts
    assert [rows() for rows in kept] == [None] * attempts
    if end == "exception":
        assert "raise Trouble(rows)" in text, "the traceback is complete"
