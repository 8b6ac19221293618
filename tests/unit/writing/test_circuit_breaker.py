"""The circuit breaker: which blocks are trials, when the worker holds, and how that ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import FakeClock, until
from tests.support.fakes import MISCONFIGURED, UNAVAILABLE
from worker.core.hold import Cause, Hold
from worker.core.outcome import WRITTEN, Outcome
from worker.core.retry import RetryPolicy
from worker.writing.circuit_breaker import CircuitBreaker

BACKOFF = RetryPolicy(attempts=1, first_wait_seconds=1.0, max_wait_seconds=8.0)
JANUARY, FEBRUARY = 202601, 202602
BLOCK = object()


class BreakerHarness:
    """A breaker with a fake clock; `probe_outcome` is the outcome of its probes, which wait for `may_answer`."""

    def __init__(self) -> None:
        self.probe_outcome: Outcome = UNAVAILABLE
        self.probes = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.hold = Hold()
        self.clock = FakeClock()
        self.breaker = CircuitBreaker(self.probe, self.hold, BACKOFF, self.clock.sleep)

    async def probe(self) -> Outcome:
        self.probes += 1
        await self.may_answer.wait()
        return self.probe_outcome

    def succeed(self, month: int, *first_attempts: bool) -> None:
        for at_first_attempt in first_attempts:
            self.breaker.record_success(month, at_first_attempt=at_first_attempt)


@pytest.fixture
async def bench() -> AsyncIterator[BreakerHarness]:
    built = BreakerHarness()
    yield built
    await built.breaker.close()


async def test_breaker_closes_only_for_the_month_that_is_written(bench: BreakerHarness) -> None:
    bench.breaker.open(UNAVAILABLE)
    bench.succeed(FEBRUARY, True, True, True)
    assert bench.breaker.is_open_for(JANUARY)
    assert not bench.breaker.is_open_for(FEBRUARY)
    bench.succeed(JANUARY, True)
    assert not bench.breaker.is_open_for(JANUARY)


async def test_breaker_closes_after_three_successes_in_a_row_at_the_first_attempt(bench: BreakerHarness) -> None:
    """A store that fails every second INSERT would close and open it, and each time a block would be dead-lettered."""
    bench.breaker.open(UNAVAILABLE)
    bench.succeed(JANUARY, True, True, False, True, True)
    assert not bench.hold.is_active
    assert bench.breaker.is_open_for(JANUARY)
    bench.succeed(JANUARY, True)
    assert not bench.breaker.is_open_for(JANUARY)


@pytest.mark.parametrize("order", [("write", "end of the wait"), ("end of the wait", "write")])
async def test_hold_lasts_until_rows_are_written_and_no_block_waits(bench: BreakerHarness, order: list[str]) -> None:
    await bench.breaker.wait(BLOCK, UNAVAILABLE)
    for step in order:
        assert bench.hold.is_active
        if step == "write":
            bench.succeed(FEBRUARY, True)
        else:
            bench.breaker.end_wait(BLOCK)
    assert not bench.hold.is_active


async def test_hold_shows_the_last_reason(bench: BreakerHarness) -> None:
    await bench.breaker.wait(BLOCK, UNAVAILABLE)
    await bench.breaker.wait(BLOCK, MISCONFIGURED)
    assert bench.hold.reasons == {Cause.STORE: "UNKNOWN_TABLE: table does not exist"}


async def test_hold_shows_at_most_500_characters_of_the_reason(bench: BreakerHarness) -> None:
    bench.breaker.open(UNAVAILABLE._replace(message="x" * 10_000))
    assert len(bench.hold.reasons[Cause.STORE]) == 500


async def test_trials_back_off_to_a_maximum_and_start_anew_after_a_success(bench: BreakerHarness) -> None:
    async def wait_seconds() -> float:
        before = len(bench.clock.slept)
        await bench.breaker.wait(BLOCK, UNAVAILABLE)
        return bench.clock.slept[before]

    waits = [await wait_seconds() for _ in range(200)]
    assert all(0 <= wait <= min(2.0**number, 8.0) for number, wait in enumerate(waits))
    assert max(waits) > 6
    bench.breaker.end_wait(BLOCK)
    assert await wait_seconds() <= 1.0


async def test_successful_probe_ends_the_hold_and_does_not_close(bench: BreakerHarness) -> None:
    """An INSERT of no rows can succeed where rows fail: block after block would be dead-lettered."""
    bench.breaker.open(UNAVAILABLE)
    await until(lambda: bench.probes >= 5)
    assert bench.hold.is_active
    bench.probe_outcome = WRITTEN
    await until(lambda: not bench.breaker.is_failing)
    assert bench.probes == 6
    assert bench.hold.reasons == {}
    assert bench.breaker.is_open_for(JANUARY)
    assert bench.breaker.is_open_for(FEBRUARY)


async def test_failed_probe_updates_the_reason(bench: BreakerHarness) -> None:
    bench.breaker.open(UNAVAILABLE)
    bench.probe_outcome = MISCONFIGURED
    await until(lambda: bench.probes >= 1)
    await asyncio.sleep(0)
    assert bench.hold.reasons == {Cause.STORE: "UNKNOWN_TABLE: table does not exist"}


async def test_probe_that_fails_after_a_success_does_not_hold_again(bench: BreakerHarness) -> None:
    bench.may_answer.clear()
    bench.breaker.open(UNAVAILABLE)
    await until(lambda: bench.probes == 1)
    bench.succeed(JANUARY, True)
    bench.may_answer.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not bench.hold.is_active


async def test_no_probe_while_a_block_waits(bench: BreakerHarness) -> None:
    bench.probe_outcome = WRITTEN
    for _ in range(50):
        await bench.breaker.wait(BLOCK, UNAVAILABLE)
    assert bench.probes == 0


async def test_second_outage_is_probed_too(bench: BreakerHarness) -> None:
    for outage in (1, 2):
        bench.probe_outcome = UNAVAILABLE
        bench.breaker.open(UNAVAILABLE)
        await until(lambda outage=outage: bench.probes >= 5 * outage)  # type: ignore[misc]
        bench.probe_outcome = WRITTEN
        await until(lambda: not bench.hold.is_active)
