"""The breaker: one outage is met once, and its end is found."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import Clock
from tests.support.events import block_of, many_events
from tests.support.fakes import MemoryStore, misconfigured, unavailable, unknown
from tests.support.rig import PACE, Rig, rig
from worker.hold import Cause, Hold
from worker.writing.breaker import Breaker
from worker.writing.witness import Witnesses
from worker.writing.writer import OnUnavailable

MONTH, OTHER_MONTH = 202601, 202512


class Broken:
    """A breaker and what it needs."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.hold = Hold()
        self.clock = Clock()
        self.witnesses = Witnesses(self.store)
        self.breaker = Breaker(self.witnesses, self.hold, PACE, self.clock.sleep)

    async def trial(self, month: int = MONTH) -> bool:
        """Wait to be admitted; whether it is a trial."""
        async with self.breaker.admission(month) as trial:
            return trial


@pytest.fixture
async def parts() -> AsyncIterator[Broken]:
    parts = Broken()
    yield parts
    await parts.breaker.stop()


def probe_tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "store-probe"]


async def test_while_closed_everything_is_admitted(parts: Broken) -> None:
    assert not await parts.trial()
    assert not parts.hold.active


async def test_while_open_it_holds_with_the_reason_and_admits_nothing(parts: Broken) -> None:
    parts.breaker.open(misconfigured(), MONTH)
    assert parts.hold.reasons == {Cause.STORE: "UNKNOWN_TABLE: table does not exist"}
    waiting = asyncio.create_task(parts.trial())
    await asyncio.sleep(0)
    assert not waiting.done()
    await waiting
    assert parts.store.probes == 1


class TestAnAnsweredProbe:
    async def test_lets_a_block_try_and_holds_until_it_has(self, parts: Broken) -> None:
        parts.breaker.open(unavailable(), MONTH)
        async with parts.breaker.admission(MONTH) as trial:
            assert trial
            held = parts.hold.active
            parts.breaker.close(MONTH)
            assert (held, parts.hold.active) == (True, False)
        assert not await parts.trial()

    async def test_ends_the_hold_where_nobody_waits_so_that_somebody_may_try(self, parts: Broken) -> None:
        parts.breaker.open(unavailable(), MONTH)
        wait_for_it = asyncio.create_task(parts.trial())
        await wait_for_it
        assert not parts.hold.active
        assert await parts.trial(), "it is tried, not trusted"

    async def test_ends_the_hold_where_all_who_wait_are_gone(self, parts: Broken) -> None:
        parts.breaker.open(unavailable(), MONTH)
        tries = asyncio.Event()

        async def try_for_ever() -> None:
            async with parts.breaker.admission(MONTH):
                tries.set()
                await asyncio.Event().wait()

        trying = asyncio.create_task(try_for_ever())
        await tries.wait()
        assert parts.hold.active
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)
        assert not parts.hold.active

    async def test_goes_on_taking_all_the_while_where_those_who_wait_cannot_tell(self, parts: Broken) -> None:
        parts.breaker.open(unavailable(), MONTH, wants_others=True)
        assert not parts.hold.active
        assert list(parts.hold.reasons) == [Cause.STORE], "and says why it is not ready"
        parts.breaker.open(unavailable(), MONTH)
        assert parts.hold.active

    async def test_with_a_row_of_that_month_closes_it_at_once(self, parts: Broken) -> None:
        parts.witnesses.took(block_of(many_events(3), ["m"], MONTH))
        parts.breaker.open(unavailable(), MONTH)
        assert not await parts.trial()
        assert not parts.hold.active
        assert len(parts.store.witnessed) == 1

    async def test_with_a_row_of_another_month_does_not(self, parts: Broken) -> None:
        parts.witnesses.took(block_of(many_events(3), ["m"], OTHER_MONTH))
        parts.breaker.open(unavailable(), MONTH)
        assert await parts.trial()
        assert len(parts.store.witnessed) == 1, "but it was asked"

    async def test_is_none_where_the_row_is_not_taken(self, parts: Broken) -> None:
        parts.witnesses.took(block_of(many_events(3), ["m"], MONTH))
        parts.store.fail_probes(unavailable, unknown, misconfigured)
        parts.breaker.open(unavailable(), MONTH)
        assert not await parts.trial()
        assert parts.store.probes == len(parts.clock.slept) == 4


async def test_a_month_that_failed_is_tried_until_a_block_of_it_has_passed(parts: Broken) -> None:
    """The store may be there for one partition of the table and away for another."""
    parts.breaker.open(unavailable(), MONTH)
    await parts.trial()
    parts.breaker.close(OTHER_MONTH)
    assert not await parts.trial(OTHER_MONTH)
    assert await parts.trial(MONTH)
    parts.breaker.close(MONTH)
    assert not await parts.trial(MONTH)


async def test_it_probes_until_there_is_an_answer_whatever_the_budget(parts: Broken) -> None:
    parts.store.fail_probes(*[unavailable, misconfigured] * 10)
    parts.breaker.open(unavailable(), MONTH)
    await parts.trial()
    assert parts.store.probes == 21
    assert len(parts.clock.slept) == 21
    assert max(parts.clock.slept) <= PACE.max_wait_seconds


async def test_the_reason_is_what_the_last_probe_met(parts: Broken) -> None:
    parts.store.fail_probes(misconfigured)
    parts.breaker.open(unavailable(), MONTH)
    seen: list[str] = []
    parts.clock.watch = lambda: seen.append(parts.hold.reasons[Cause.STORE])
    await parts.trial()
    assert seen == ["NETWORK_ERROR: connection refused", "UNKNOWN_TABLE: table does not exist"]


async def test_an_insert_that_was_under_way_when_it_opened_does_not_close_it(parts: Broken) -> None:
    parts.breaker.open(unavailable(), MONTH)
    parts.breaker.close(MONTH)
    assert parts.hold.active
    assert parts.store.probes == 0
    await parts.trial()
    assert parts.store.probes == 1


async def test_it_asks_ever_more_slowly_while_probes_are_answered_and_inserts_fail(parts: Broken) -> None:
    for _ in range(7):
        parts.breaker.open(unavailable(), MONTH)
        await parts.trial()
    assert parts.clock.slept == [0.5, 1, 2, 4, 8, 8, 8]
    assert parts.store.probes == 7


async def test_a_success_makes_it_quick_again(parts: Broken) -> None:
    for _ in range(5):
        parts.breaker.open(unavailable(), MONTH)
        await parts.trial()
    parts.breaker.close(MONTH)
    parts.clock.slept.clear()
    parts.breaker.open(unavailable(), MONTH)
    await parts.trial()
    assert parts.clock.slept == [0.5]


async def test_many_failures_at_once_are_one_outage(parts: Broken) -> None:
    for _ in range(6):
        parts.breaker.open(unavailable(), MONTH)
    assert len(probe_tasks()) == 1
    await parts.trial()
    assert parts.clock.slept == [0.5]
    assert parts.store.probes == 1


async def test_the_reason_is_cut_to_what_a_health_check_shows(parts: Broken) -> None:
    error = unavailable()
    error.args = ("x" * 10_000,)
    parts.breaker.open(error, MONTH)
    assert len(parts.hold.reasons[Cause.STORE]) == 500


async def test_it_can_be_stopped_open_and_closed(parts: Broken) -> None:
    await parts.breaker.stop()
    parts.store.down = unavailable
    parts.breaker.open(unavailable(), MONTH)
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
        async with worker.breaker.admission(MONTH):
            assert worker.store.probes == 1


async def test_a_failed_trial_is_no_reason_to_dead_letter() -> None:
    async with rig() as worker:
        worker.store.fail_inserts(*[unavailable] * 3)
        worker.store.fail_probes(unavailable)
        assert len(await worker.writer.write(block_of(many_events(2), ["m"]))) == 2, "its budget was spent"
        worker.store.fail_inserts(*[unavailable] * 20)
        assert await worker.writer.write(block_of(many_events(3), ["m"])) == []
        assert len(worker.store.table) == 3
        assert not worker.hold.reasons
        async with worker.breaker.admission(MONTH) as trial:
            assert not trial


async def test_a_refusal_says_nothing_of_whether_rows_are_taken() -> None:
    """It may come from the client, before the store is asked."""
    async with rig(MemoryStore(lambda row: row.metric == "bad")) as worker:
        worker.store.fail_inserts(*[unavailable] * 3)
        worker.store.fail_probes(unavailable)
        await worker.writer.write(block_of(many_events(1), ["m"]))
        assert len(await worker.writer.write(block_of(many_events(1), ["bad"]))) == 1
        async with worker.breaker.admission(MONTH) as trial:
            assert trial
        assert await worker.writer.write(block_of(many_events(1), ["good"])) == []
        async with worker.breaker.admission(MONTH) as trial:
            assert not trial


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
