"""The start holds until every check finds no problem; later the worker holds while a watched dependency has one."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.clock import FakeClock
from worker.core.hold import Cause, Hold
from worker.core.retry import RetryPolicy
from worker.startup import FindProblem, hold_until_ready, watch_dependency

BACKOFF = RetryPolicy(first_wait_seconds=1.0, max_wait_seconds=8.0)


def finding(*problems: str) -> Callable[[], Awaitable[str | None]]:
    """A function that returns each of `problems` once, and then None."""
    left = [*problems]

    async def find_problem() -> str | None:
        return left.pop(0) if left else None

    return find_problem


async def test_start_does_not_hold_or_wait_without_a_problem() -> None:
    clock, hold = FakeClock(), Hold()
    await hold_until_ready({Cause.STORE: finding()}, hold, BACKOFF, clock.sleep)
    assert clock.slept == []
    assert not hold.is_active


async def test_start_holds_with_every_reason_until_each_problem_is_gone() -> None:
    hold = Hold()
    seen: list[dict[Cause, str]] = []
    clock = FakeClock(lambda: seen.append(dict(hold.reasons)))
    checks = {Cause.STORE: finding("away", "away", "no table"), Cause.DEAD_LETTERS: finding("no leader")}
    await hold_until_ready(checks, hold, BACKOFF, clock.sleep)
    assert {Cause.STORE: "away", Cause.DEAD_LETTERS: "no leader"} in seen
    assert seen[-1] == {Cause.STORE: "no table"}
    assert not hold.is_active


async def test_waits_between_checks_grow_to_a_maximum() -> None:
    clock = FakeClock()
    await hold_until_ready({Cause.STORE: finding(*["away"] * 100)}, Hold(), BACKOFF, clock.sleep)
    assert len(clock.slept) == 100
    assert clock.slept[0] <= 1.0
    assert 6.0 < max(clock.slept) <= 8.0


async def watch(find_problem: FindProblem, hold: Hold, rounds: int) -> list[dict[Cause, str]]:
    """Watch until the clock has slept so often; returns the reasons of `hold` at each sleep."""
    seen: list[dict[Cause, str]] = []
    enough = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        seen.append(dict(hold.reasons))
        if len(seen) == rounds:
            enough.set()
            await asyncio.Event().wait()

    watching = asyncio.create_task(watch_dependency(Cause.DEAD_LETTERS, find_problem, hold, BACKOFF, sleep))
    await enough.wait()
    watching.cancel()
    return seen


async def test_watch_holds_while_there_is_a_problem() -> None:
    gone = {Cause.DEAD_LETTERS: "gone"}
    assert await watch(finding("gone", "gone"), Hold(), 4) == [{}, gone, gone, {}]


async def test_watch_does_not_touch_the_hold_of_another() -> None:
    hold = Hold()
    hold.enter(Cause.DEAD_LETTERS, "refused")
    assert await watch(finding("gone"), hold, 3) == [{Cause.DEAD_LETTERS: "refused"}] * 3


async def test_watch_goes_on_after_an_unexpected_error_and_leaves_its_hold() -> None:
    answers: list[str | Exception | None] = [RuntimeError("odd"), "gone", RuntimeError("odd"), "gone", None]

    async def find_problem() -> str | None:
        if isinstance(answer := answers.pop(0) if answers else None, Exception):
            raise answer
        return answer

    gone = {Cause.DEAD_LETTERS: "gone"}
    assert await watch(find_problem, Hold(), 6) == [{}, {}, gone, {}, gone, {}]
