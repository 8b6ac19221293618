"""The circuit breaker: what is a trial, when the worker holds, and how that ends."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.support.clock import Clock, until
from tests.support.fakes import MISCONFIGURED, UNAVAILABLE
from worker.core.hold import Cause, Hold
from worker.core.outcome import WRITTEN, Outcome
from worker.core.retry import RetryPolicy
from worker.writing.circuit_breaker import CircuitBreaker

BACKOFF = RetryPolicy(attempts=1, first_wait_seconds=1.0, max_wait_seconds=8.0)
JANUARY, FEBRUARY = 202601, 202602


class BreakerHarness:
    """A breaker with a fake clock; `probe_outcome` is the outcome of its probes."""

    def __init__(self) -> None:
        self.probe_outcome: Outcome = UNAVAILABLE
        self.probes = 0
        self.hold = Hold()
        self.clock = Clock()
        self.breaker = CircuitBreaker(self.probe, self.hold, BACKOFF, self.clock.sleep)

    async def probe(self) -> Outcome:
        self.probes += 1
        return self.probe_outcome

    def has_probed(self, times: int) -> bool:
        return self.probes >= times

    def is_trial(self, month: int = JANUARY) -> bool:
        with self.breaker.admit(month) as admission:
            return admission.is_trial


@pytest.fixture
async def bench() -> AsyncIterator[BreakerHarness]:
    built = BreakerHarness()
    yield built
    await built.breaker.stop()


async def test_is_closed_at_first(bench: BreakerHarness) -> None:
    assert not bench.breaker.is_failing
    assert not bench.is_trial()
    assert not bench.hold.active


async def test_opens_and_holds_when_a_block_is_given_up(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE)
    assert bench.breaker.is_failing
    assert bench.is_trial(JANUARY)
    assert bench.is_trial(FEBRUARY), "the store may be away as a whole"
    assert bench.hold.reasons == {Cause.STORE: "NETWORK_ERROR: connection refused"}


async def test_ends_the_hold_when_a_block_succeeds(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE)
    with bench.breaker.admit(FEBRUARY) as admission:
        admission.succeed(at_first_attempt=True)
    assert not bench.breaker.is_failing
    assert not bench.hold.active


def succeed(bench: BreakerHarness, month: int, *first_attempts: bool) -> None:
    for at_first_attempt in first_attempts:
        with bench.breaker.admit(month) as admission:
            admission.succeed(at_first_attempt=at_first_attempt)


async def test_closes_for_a_month_when_rows_of_it_are_written(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE)
    succeed(bench, FEBRUARY, True, True, True)
    assert bench.is_trial(JANUARY)
    assert not bench.is_trial(FEBRUARY)
    succeed(bench, JANUARY, True)
    assert not bench.is_trial(JANUARY)


async def test_closes_only_after_three_blocks_in_a_row_at_the_first_attempt(bench: BreakerHarness) -> None:
    """A store that fails every second INSERT would else be closed and opened, and each time dead-letter a block."""
    with bench.breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE)
    succeed(bench, JANUARY, True, True, False, True, True)
    assert not bench.hold.active
    assert bench.is_trial(JANUARY)
    succeed(bench, JANUARY, True)
    assert not bench.is_trial(JANUARY)


async def test_holds_as_long_as_one_block_waits_whatever_others_do(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as waiting:
        await waiting.wait(UNAVAILABLE)
        with bench.breaker.admit(FEBRUARY) as other:
            other.succeed(at_first_attempt=True)
        assert bench.hold.active
        waiting.succeed(at_first_attempt=True)
        assert not bench.hold.active


async def test_ends_the_hold_when_the_waiting_block_is_dropped_and_the_store_is_back(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as waiting:
        await waiting.wait(UNAVAILABLE)
        with bench.breaker.admit(FEBRUARY) as other:
            other.succeed(at_first_attempt=True)
    assert not bench.hold.active


async def test_says_the_last_reason(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as admission:
        await admission.wait(UNAVAILABLE)
        await admission.wait(MISCONFIGURED)
        assert bench.hold.reasons == {Cause.STORE: "UNKNOWN_TABLE: table does not exist"}


async def test_trials_back_off_to_a_maximum_and_begin_anew_after_a_success(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as admission:
        for failures in range(1, 200):
            before = len(bench.clock.slept)
            await admission.wait(UNAVAILABLE)
            assert 0 <= bench.clock.slept[before] <= min(2.0 ** (failures - 1), 8.0)
        assert max(bench.clock.slept) > 6
        admission.succeed(at_first_attempt=True)
        before = len(bench.clock.slept)
        await admission.wait(UNAVAILABLE)
        assert bench.clock.slept[before] <= 1.0


async def test_probes_while_no_block_waits_and_ends_the_hold_by_itself(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE)
    await until(lambda: bench.probes >= 5)
    assert bench.hold.active
    bench.probe_outcome = WRITTEN
    await until(lambda: not bench.breaker.is_failing)
    assert bench.probes == 6
    assert bench.hold.reasons == {}
    assert bench.is_trial(JANUARY), "no row of it has been written"


async def test_probes_show_the_reason_of_now(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE)
    bench.probe_outcome = MISCONFIGURED
    await until(lambda: bench.probes >= 1)
    await asyncio.sleep(0)
    assert bench.hold.reasons == {Cause.STORE: "UNKNOWN_TABLE: table does not exist"}


async def test_probe_that_succeeds_ends_the_hold_and_closes_nothing(bench: BreakerHarness) -> None:
    """An INSERT of no rows succeeds where rows fail: each month would be dead-lettered in its turn."""
    bench.probe_outcome = WRITTEN
    with bench.breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE)
    await until(lambda: not bench.hold.active)
    assert bench.is_trial(JANUARY)
    assert bench.is_trial(FEBRUARY)


async def test_probe_that_fails_late_does_not_begin_a_hold_again() -> None:
    answer = asyncio.Event()
    asked = asyncio.Event()

    async def probe() -> Outcome:
        asked.set()
        await answer.wait()
        return UNAVAILABLE

    hold = Hold()
    breaker = CircuitBreaker(probe, hold, BACKOFF, Clock().sleep)
    with breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE)
    await asked.wait()
    with breaker.admit(JANUARY) as admission:
        admission.succeed(at_first_attempt=True)
    answer.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not hold.active
    await breaker.stop()


async def test_does_not_probe_while_a_block_waits(bench: BreakerHarness) -> None:
    bench.probe_outcome = WRITTEN
    with bench.breaker.admit(JANUARY) as admission:
        for _ in range(50):
            await admission.wait(UNAVAILABLE)
    assert bench.probes == 0


async def test_probes_anew_in_a_second_outage(bench: BreakerHarness) -> None:
    for outage in (1, 2):
        bench.probe_outcome = UNAVAILABLE
        with bench.breaker.admit(JANUARY) as admission:
            admission.give_up(UNAVAILABLE)
        enough = 5 * outage
        await until(partial(bench.has_probed, enough))
        bench.probe_outcome = WRITTEN
        await until(lambda: not bench.hold.active)


async def test_cuts_long_reasons(bench: BreakerHarness) -> None:
    with bench.breaker.admit(JANUARY) as admission:
        admission.give_up(UNAVAILABLE._replace(message="x" * 10_000))
    assert len(bench.hold.reasons[Cause.STORE]) == 500


async def test_started_open_tries_the_first_block_without_holding() -> None:
    hold = Hold()

    async def probe() -> Outcome:
        return WRITTEN

    breaker = CircuitBreaker(probe, hold, BACKOFF, Clock().sleep, starts_open=True)
    with breaker.admit(JANUARY) as admission:
        assert admission.is_trial
        assert not hold.active
        for _ in range(3):
            admission.succeed(at_first_attempt=True)
        assert not admission.is_trial
