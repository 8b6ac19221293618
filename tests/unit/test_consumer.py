"""The consumer: what it polls, when it commits, and what it leaves to be redelivered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from tests.support.events import event, record
from tests.support.fakes import MISCONFIGURED, UNAVAILABLE, MemoryStore
from tests.support.memory_event_source import MemoryEventSource
from tests.support.worker_harness import WorkerHarness, rig
from worker import consumer
from worker.consumer import Consumer
from worker.core.errors import ErrorClass
from worker.core.model import Record
from worker.core.outcome import Outcome
from worker.events.batch_policy import BatchPolicy
from worker.events.block import Block
from worker.ports import Partition
from worker.writing.writer import OnUnavailable

TOPIC = "execution-completed"
FIRST, SECOND = Partition(TOPIC, 0), Partition(TOPIC, 1)


def records(count: int, partition: int = 0, start: int = 0, padding: int = 0) -> list[Record]:
    return [
        record(
            event(execution_id=str(UUID(int=partition << 32 | offset)), padding="x" * padding),
            partition=partition,
            offset=offset,
        )
        for offset in range(start, start + count)
    ]


class Running:
    """A consumer at work."""

    def __init__(self, worker: WorkerHarness, inbox: MemoryEventSource, policy: BatchPolicy) -> None:
        self.worker = worker
        self.inbox = inbox
        self.consumer = Consumer(
            inbox, worker.pipeline, worker.hold, policy, concurrency=2, revoke_seconds=5.0, stop_seconds=5.0
        )
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.consumer.run(self.stop))

    async def until(self, true: Callable[[], bool], seconds: float = 20) -> None:
        """Wait for something to be so."""
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.005)
                if self.task.done():
                    self.task.result()

    async def end(self) -> None:
        """Ask it to stop, and wait."""
        self.stop.set()
        async with asyncio.timeout(20):
            await self.task


@asynccontextmanager
async def running(
    inbox: MemoryEventSource,
    store: MemoryStore | None = None,
    policy: BatchPolicy | None = None,
    on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
) -> AsyncIterator[Running]:
    async with rig(store, on_unavailable) as worker:
        started = Running(worker, inbox, policy or BatchPolicy(linger_seconds=0))
        try:
            yield started
        finally:
            started.task.cancel()
            await asyncio.gather(started.task, return_exceptions=True)


class SlowStore(MemoryStore):
    """Answers no insert until `let` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()

    async def insert(self, block: Block) -> Outcome:
        await self.let.wait()
        return await super().insert(block)


async def test_all_records_are_written_and_committed() -> None:
    inbox = MemoryEventSource([*records(30), *records(20, partition=1)])
    async with running(inbox) as it:
        await it.until(lambda: inbox.committed == {FIRST: 30, SECOND: 20})
        assert len(it.worker.store.table) == 100
        await it.end()


async def test_nothing_is_committed_before_it_is_written() -> None:
    inbox, store = MemoryEventSource(records(5)), SlowStore()
    async with running(inbox, store) as it:
        await it.until(lambda: inbox.idles > 0 or len(inbox.asked) > 3)
        assert inbox.commits == []
        store.let.set()
        await it.until(lambda: inbox.committed == {FIRST: 5})


class TestRefusedCommit:
    async def test_retried_without_new_records(self) -> None:
        inbox = MemoryEventSource(records(5))
        inbox.refuse_commits = True
        async with running(inbox) as it:
            await it.until(lambda: len(inbox.commits) > 1)
            assert inbox.committed == {}
            inbox.refuse_commits = False
            await it.until(lambda: inbox.committed == {FIRST: 5})

    async def test_included_in_the_next_commit(self) -> None:
        inbox = MemoryEventSource([*records(5), *records(2, partition=1)])
        inbox.refuse_commits = True
        async with running(inbox) as it:
            await it.until(lambda: len(inbox.commits) > 0)
            inbox.put(*records(5, start=5))
            await it.until(lambda: len(it.worker.store.table) == 24)
            inbox.refuse_commits = False
            await it.until(lambda: inbox.committed == {FIRST: 10, SECOND: 2})

    async def test_forgotten_when_the_partitions_are_revoked(self) -> None:
        """Another member may be further by now: an old offset must not be committed over a newer one."""
        inbox = MemoryEventSource(records(5))
        inbox.refuse_commits = True
        async with running(inbox, policy=BatchPolicy(max_events=5, linger_seconds=0)) as it:
            await it.until(lambda: len(inbox.commits) > 0)
            inbox.committed[FIRST] = 100
            await inbox.rebalance()
            inbox.refuse_commits = False
            inbox.put(*records(1, start=100))
            await it.until(lambda: inbox.committed[FIRST] != 100)
            assert inbox.committed == {FIRST: 101}
            assert {FIRST: 5} not in inbox.commits[-1:]


async def test_revoke_finishes_batches_under_way_and_commits_them() -> None:
    inbox, store = MemoryEventSource(records(5)), SlowStore()
    async with running(inbox, store) as it:
        await it.until(lambda: len(inbox.asked) > 2)
        asyncio.get_running_loop().call_later(0.05, store.let.set)
        await inbox.rebalance()
        assert inbox.committed == {FIRST: 5}
        assert it.consumer.last_progress


@pytest.mark.parametrize(
    ("outcome", "on_unavailable"),
    [
        (MISCONFIGURED, OnUnavailable.DEAD_LETTER),
        (MISCONFIGURED, OnUnavailable.HOLD),
        (UNAVAILABLE, OnUnavailable.HOLD),
    ],
    ids=["misconfigured, dead_letter", "misconfigured, hold", "unavailable, hold"],
)
async def test_hold_stops_intake_at_the_concurrency_and_polling_goes_on(
    outcome: Outcome, on_unavailable: OnUnavailable
) -> None:
    inbox, store = MemoryEventSource(records(5)), MemoryStore()
    store.down = outcome
    async with running(inbox, store, BatchPolicy(max_events=1, linger_seconds=0), on_unavailable) as it:
        await it.until(lambda: inbox.idles > 1)
        assert it.worker.hold.active
        assert inbox._position == {FIRST: 2}, "as many batches of one record as the concurrency"
        asked = len(inbox.asked)
        await it.until(lambda: inbox.idles > 2)
        assert len(inbox.asked) == asked
        assert inbox.committed == {}
        store.down = None
        await it.until(lambda: inbox.committed == {FIRST: 5})
        assert it.worker.dead_letters.letters == []
        assert not it.worker.hold.active


async def test_hold_does_not_stop_intake_below_the_concurrency() -> None:
    """The batch that is under way waits; another one may be what the store accepts."""
    inbox, store = MemoryEventSource(records(1)), MemoryStore()
    store.down = MISCONFIGURED
    async with running(inbox, store, BatchPolicy(max_events=1, linger_seconds=0)) as it:
        await it.until(lambda: it.worker.hold.active)
        inbox.put(*records(1, start=1))
        await it.until(lambda: inbox._position == {FIRST: 2})
        assert it.worker.hold.active


async def test_outage_dead_letters_only_what_was_in_flight_when_it_began() -> None:
    inbox, store = MemoryEventSource(records(20)), MemoryStore()
    store.down = UNAVAILABLE
    async with running(inbox, store, BatchPolicy(max_events=1, linger_seconds=0)) as it:
        await it.until(lambda: inbox.idles > 1)
        assert it.worker.hold.active
        lost = len(it.worker.dead_letters.letters)
        assert lost in (2, 4), "two metrics of each event; at most two batches were in flight"
        await it.until(lambda: inbox.idles > 2)
        assert len(it.worker.dead_letters.letters) == lost
        store.down = None
        await it.until(lambda: inbox.committed == {FIRST: 20})
        assert len(it.worker.dead_letters.letters) == lost
        assert len(store.table) == 40 - lost
        assert not it.worker.hold.active


async def test_stop_drops_held_batches_uncommitted() -> None:
    inbox, store = MemoryEventSource(records(5)), MemoryStore()
    store.down = UNAVAILABLE
    async with running(inbox, store, on_unavailable=OnUnavailable.HOLD) as it:
        await it.until(lambda: it.worker.hold.active)
        await it.end()
    assert inbox.commits == []
    assert it.worker.dead_letters.letters == []


async def test_revoke_drops_held_batches_uncommitted_and_at_once() -> None:
    inbox, store = MemoryEventSource(records(5)), MemoryStore()
    store.down = UNAVAILABLE
    async with running(inbox, store, on_unavailable=OnUnavailable.HOLD) as it:
        await it.until(lambda: it.worker.hold.active)
        it.consumer._revoke_seconds = 1_000.0
        async with asyncio.timeout(5):
            await inbox.rebalance()
        assert inbox.commits == []
        store.down = None
        await it.until(lambda: inbox.committed == {FIRST: 5})
        assert it.worker.dead_letters.letters == []


@pytest.mark.parametrize("on_unavailable", OnUnavailable)
async def test_first_record_that_fails_unclassified_is_refused_when_later_batches_are_written(
    on_unavailable: OnUnavailable,
) -> None:
    """Nothing is in its block that could tell whether the record or the store is at fault."""
    inbox = MemoryEventSource([record(event(metrics={"poison": 1}), offset=0)])
    store = MemoryStore(fails=lambda row: row.metric == "poison")
    store.down = UNAVAILABLE  # so that nothing was ever written
    async with running(inbox, store, on_unavailable=on_unavailable) as it:
        await it.until(lambda: bool(it.worker.hold.reasons))
        store.down = None
        for number in range(1, 10):
            inbox.put(*records(1, start=number))
            await it.until(lambda: len(store.table) == 2 * number)  # noqa: B023 - awaited here
        await it.until(lambda: inbox.committed == {FIRST: 10}, seconds=5)
        (letter,) = it.worker.dead_letters.letters
        held = on_unavailable is OnUnavailable.HOLD
        assert letter.failure.error_class is (ErrorClass.ROW_REFUSED if held else ErrorClass.STORE_UNAVAILABLE)
        assert not it.worker.hold.reasons


async def test_small_batches_of_rows_that_wait_leave_room_for_others() -> None:
    """Twenty records, each in a block of its own, may be invalid: others must be read to tell."""
    poison = [record(event(metrics={"poison": 1}), offset=number) for number in range(20)]
    inbox = MemoryEventSource([])
    store = MemoryStore(fails=lambda row: row.metric == "poison")
    async with running(inbox, store, BatchPolicy(max_events=100, linger_seconds=0), OnUnavailable.HOLD) as it:
        for number, one in enumerate(poison, 1):
            inbox.put(one)
            await it.until(lambda: inbox._position == {FIRST: number})  # noqa: B023 - awaited here
        for number in range(20, 40):
            inbox.put(*records(1, start=number))
            await it.until(lambda: inbox._position == {FIRST: number + 1})  # noqa: B023 - awaited here
        await it.until(lambda: inbox.committed == {FIRST: 40})
        assert len(it.worker.dead_letters.letters) == 20
        assert len(store.table) == 40


async def test_full_batches_that_wait_are_no_more_than_the_concurrency() -> None:
    inbox, store = MemoryEventSource(records(30)), MemoryStore()
    store.down = UNAVAILABLE
    async with running(inbox, store, BatchPolicy(max_events=5, linger_seconds=0), OnUnavailable.HOLD) as it:
        await it.until(lambda: inbox.idles > 1)
        assert it.worker.hold.active
        assert inbox._position == {FIRST: 10}


async def test_batches_ahead_of_one_that_waits_are_bounded_and_trickle_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class FirstHangs(MemoryStore):
        let = asyncio.Event()

        async def insert(self, block: Block) -> Outcome:
            if block.events[0].record.offset == 0:
                await self.let.wait()
            return await super().insert(block)

    monkeypatch.setattr(consumer, "_MAX_UNCOMMITTED_BATCHES", 5)
    monkeypatch.setattr(consumer, "_TRICKLE_SECONDS", 1_000.0)
    inbox, store = MemoryEventSource(records(30)), FirstHangs()
    async with running(inbox, store, BatchPolicy(max_events=1, linger_seconds=0)) as it:
        await it.until(lambda: inbox.idles > 1)
        assert len(store.table) == 2 * 5
        assert inbox.commits == []
        monkeypatch.setattr(consumer, "_TRICKLE_SECONDS", 0.0)
        await it.until(lambda: len(store.table) == 2 * 29)
        assert inbox.commits == []
        store.let.set()
        await it.until(lambda: inbox.committed == {FIRST: 30})


async def test_revoke_ends_a_commit_under_way() -> None:
    """Later it could set another member's partition back."""

    class Slow(MemoryEventSource):
        let = asyncio.Event()
        begun = asyncio.Event()

        async def commit(self, offsets: Mapping[Partition, int]) -> bool:
            self.begun.set()
            await self.let.wait()
            return await super().commit(offsets)

    inbox = Slow(records(5))
    async with running(inbox) as it:
        await inbox.begun.wait()
        it.consumer._revoke_seconds = 0.1
        await it.consumer.on_revoke()
        inbox.let.set()
        await asyncio.sleep(0.05)
        assert inbox.commits == []


async def test_batches_of_large_records_stay_near_max_bytes() -> None:
    inbox = MemoryEventSource(records(2_000, padding=10_000))
    policy = BatchPolicy(max_events=5_000, max_bytes=1_000_000, linger_seconds=0)
    async with running(inbox, policy=policy) as it:
        await it.until(lambda: inbox.committed == {FIRST: 2_000})
    # The first poll cannot know; after it no batch is much more than 100 records of 10 kB.
    batches = [offsets[FIRST] for offsets in inbox.commits]
    sizes = [after - before for before, after in zip([0, *batches], batches, strict=False)]
    assert max(sizes[1:]) <= 110


async def test_unexpected_exception_ends_the_consumer_and_commits_nothing() -> None:
    class Mistaken(MemoryStore):
        async def insert(self, block: Block) -> Outcome:
            raise ZeroDivisionError(len(block))

    inbox = MemoryEventSource(records(5))
    async with running(inbox, Mistaken()) as it:
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(20):
                await it.task
    assert inbox.commits == []
