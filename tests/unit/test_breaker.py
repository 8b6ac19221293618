"""The breaker: one outage is met once, and its end is found."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import Clock
from tests.support.events import block_of, many_events
from tests.support.fakes import MemoryStore, misconfigured, unavailable
from tests.support.rig import PACE, Rig, rig
from worker.breaker import Breaker
from worker.hold import Cause, Hold
from worker.writer import OnUnavailable


class Broken:
    """A breaker and what it needs."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.hold = Hold()
        self.clock = Clock()
        self.breaker = Breaker(self.store, self.hold, PACE, self.clock.sleep)


@pytest.fixture
async def parts() -> AsyncIterator[Broken]:
    parts = Broken()
    yield parts
    await parts.breaker.stop()


def probe_tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "store-probe"]


async def test_while_closed_everything_is_admitted(parts: Broken) -> None:
    await parts.breaker.admitted()
    assert not parts.breaker.half_open
    assert not parts.hold.active


async def test_while_open_it_holds_with_the_reason_and_admits_nothing(parts: Broken) -> None:
    parts.breaker.open(misconfigured())
    assert parts.hold.reasons == {Cause.STORE: "UNKNOWN_TABLE: table does not exist"}
    waiting = asyncio.create_task(parts.breaker.admitted())
    await asyncio.sleep(0)
    assert not waiting.done()
    await waiting
    assert parts.store.probes == 1


async def test_an_answered_probe_makes_it_half_open_and_ends_the_hold(parts: Broken) -> None:
    parts.breaker.open(unavailable())
    await parts.breaker.admitted()
    assert parts.breaker.half_open
    assert not parts.hold.active


async def test_it_probes_until_there_is_an_answer_whatever_the_budget(parts: Broken) -> None:
    parts.store.fail_probes(*[unavailable, misconfigured] * 10)
    parts.breaker.open(unavailable())
    await parts.breaker.admitted()
    assert parts.store.probes == 21
    assert len(parts.clock.slept) == 21
    assert max(parts.clock.slept) <= PACE.max_wait_seconds


async def test_an_accepted_insert_closes_it(parts: Broken) -> None:
    parts.breaker.open(unavailable())
    await parts.breaker.admitted()
    parts.breaker.close()
    assert not parts.breaker.half_open
    await parts.breaker.admitted()


async def test_an_insert_that_was_under_way_when_it_opened_does_not_close_it(parts: Broken) -> None:
    parts.breaker.open(unavailable())
    parts.breaker.close()
    assert parts.hold.active
    assert parts.store.probes == 0
    await parts.breaker.admitted()
    assert parts.store.probes == 1


async def test_it_asks_ever_more_slowly_while_probes_are_answered_and_inserts_fail(parts: Broken) -> None:
    for _ in range(7):
        parts.breaker.open(unavailable())
        await parts.breaker.admitted()
    assert parts.clock.slept == [0.5, 1, 2, 4, 8, 8, 8]
    assert parts.store.probes == 7


async def test_a_success_makes_it_quick_again(parts: Broken) -> None:
    for _ in range(5):
        parts.breaker.open(unavailable())
        await parts.breaker.admitted()
    parts.breaker.close()
    parts.clock.slept.clear()
    parts.breaker.open(unavailable())
    await parts.breaker.admitted()
    assert parts.clock.slept == [0.5]


async def test_many_failures_at_once_are_one_outage(parts: Broken) -> None:
    for _ in range(6):
        parts.breaker.open(unavailable())
    assert len(probe_tasks()) == 1
    await parts.breaker.admitted()
    assert parts.clock.slept == [0.5]
    assert parts.store.probes == 1


async def test_the_reason_is_cut_to_what_a_health_check_shows(parts: Broken) -> None:
    error = unavailable()
    error.args = ("x" * 10_000,)
    parts.breaker.open(error)
    assert len(parts.hold.reasons[Cause.STORE]) == 500


async def test_it_can_be_stopped_open_and_closed(parts: Broken) -> None:
    await parts.breaker.stop()
    parts.store.down = unavailable
    parts.breaker.open(unavailable())
    await asyncio.sleep(0)
    await parts.breaker.stop()
    assert probe_tasks() == []


async def test_two_blocks_under_way_open_it_once() -> None:
    async with rig() as worker:
        worker.store.down = unavailable
        await _write_two(worker)
        assert len(probe_tasks()) == 1
        assert list(worker.hold.reasons) == [Cause.STORE]
        worker.store.down = None
        worker.clock.slept.clear()
        worker.store.probes = 0
        await worker.breaker.admitted()
        assert worker.store.probes == 1


async def test_a_failed_trial_is_no_reason_to_dead_letter() -> None:
    async with rig() as worker:
        worker.store.fail_inserts(*[unavailable] * 3)
        assert len(await worker.writer.write(block_of(many_events(2), ["m"]))) == 2, "its budget was spent"
        worker.store.fail_inserts(*[unavailable] * 20)
        assert await worker.writer.write(block_of(many_events(3), ["m"])) == []
        assert len(worker.store.table) == 3
        assert not worker.hold.active
        assert not worker.breaker.half_open
        assert worker.store.probes == 21


async def test_a_refusal_is_an_answer_too_and_closes_it() -> None:
    async with rig(MemoryStore(lambda row: row.metric == "bad")) as worker:
        worker.store.fail_inserts(*[unavailable] * 3)
        await worker.writer.write(block_of(many_events(1), ["m"]))
        # Refused whole, and the bad row alone; then a short outage, which the budget of a closed breaker covers.
        worker.store.fail_inserts(None, None, unavailable)
        failed = await worker.writer.write(block_of(many_events(1), ["bad", "good"]))
        assert [item.metric for item in failed] == ["bad"]
        assert worker.store.probes == 1, "of the first outage"


async def test_after_a_success_a_block_has_its_whole_budget_again() -> None:
    async with rig() as worker:
        worker.store.fail_inserts(*[unavailable] * 3)
        await worker.writer.write(block_of(many_events(1), ["a"]))
        await worker.writer.write(block_of(many_events(1), ["b"]))
        worker.store.inserts.clear()
        worker.store.fail_inserts(*[unavailable] * 2)
        assert await worker.writer.write(block_of(many_events(1), ["c"])) == []
        assert len(worker.store.inserts) == 3
        assert not worker.hold.active


async def test_backoff_grows_for_a_writer_that_holds_while_probes_are_answered() -> None:
    async with rig(on_unavailable=OnUnavailable.HOLD) as worker:
        worker.store.broken = unavailable

        def mend() -> None:
            if len(worker.store.inserts) == 3 + 6:
                worker.store.broken = None

        worker.clock.watch = mend
        assert await worker.writer.write(block_of(many_events(1), ["m"])) == []
        assert worker.clock.slept[2:] == [0.5, 1, 2, 4, 8, 8, 8]
        assert len(worker.store.table) == 1


async def _write_two(worker: Rig) -> None:
    failed = await asyncio.gather(
        worker.writer.write(block_of(many_events(2), ["a"])), worker.writer.write(block_of(many_events(2), ["b"]))
    )
    assert [len(items) for items in failed] == [2, 2]
