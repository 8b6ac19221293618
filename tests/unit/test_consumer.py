"""The consumer: how much it reads, when it commits, and what it leaves to be redelivered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from tests.support.events import event, record
from tests.support.fakes import MISCONFIGURED, UNAVAILABLE, MemoryStore
from tests.support.memory_event_source import MemoryEventSource
from tests.support.worker_harness import WorkerHarness, open_worker_harness
from worker import consumer as consumer_module
from worker.batch_reader import BatchPolicy
from worker.consumer import Consumer
from worker.core.errors import ErrorClass
from worker.core.heartbeat import Heartbeat
from worker.core.model import Record
from worker.core.outcome import Outcome
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


class RunningConsumer:
    """A consumer that runs in a task of its own."""

    def __init__(self, worker: WorkerHarness, source: MemoryEventSource, policy: BatchPolicy) -> None:
        self.hold = worker.hold
        self.dead_letters = worker.dead_letters.letters
        self.heartbeat = Heartbeat()
        self.tested = Consumer(
            source,
            worker.pipeline,
            worker.hold,
            policy,
            self.heartbeat,
            concurrency=2,
            revoke_seconds=5.0,
            stop_seconds=5.0,
        )
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.tested.run(self.stop))

    async def wait_until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
                if self.task.done():
                    self.task.result()

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(20):
            await self.task


ONE_RECORD = BatchPolicy(max_events=1, linger_seconds=0)


@asynccontextmanager
async def running(
    source: MemoryEventSource,
    store: MemoryStore | None = None,
    policy: BatchPolicy | None = None,
    on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
) -> AsyncIterator[RunningConsumer]:
    async with open_worker_harness(store, on_unavailable) as worker:
        consumer = RunningConsumer(worker, source, policy or BatchPolicy(linger_seconds=0))
        try:
            yield consumer
        finally:
            consumer.task.cancel()
            await asyncio.gather(consumer.task, return_exceptions=True)


class BlockingStore(MemoryStore):
    """Does not insert a block of an offset below `end` before `unblocked` is set."""

    def __init__(self, end: int = 2**63) -> None:
        super().__init__()
        self.unblocked = asyncio.Event()
        self._end = end

    async def insert(self, block: Block) -> Outcome:
        if block.events[0].record.offset < self._end:
            await self.unblocked.wait()
        return await super().insert(block)


async def test_all_records_are_written_and_committed() -> None:
    source, store = MemoryEventSource([*records(30), *records(20, partition=1)]), MemoryStore()
    async with running(source, store) as consumer:
        await consumer.wait_until(lambda: source.committed == {FIRST: 30, SECOND: 20})
        assert len(store.table) == 100
        await consumer.end()


async def test_nothing_is_committed_before_it_is_written() -> None:
    source, store = MemoryEventSource(records(5)), BlockingStore()
    async with running(source, store) as consumer:
        await consumer.wait_until(lambda: source.idles > 0 or len(source.asked) > 3)
        assert source.commits == []
        store.unblocked.set()
        await consumer.wait_until(lambda: source.committed == {FIRST: 5})


async def test_refused_commit_is_retried_without_new_records() -> None:
    source = MemoryEventSource(records(5))
    source.refuse_commits = True
    async with running(source) as consumer:
        await consumer.wait_until(lambda: len(source.commits) > 1)
        assert source.committed == {}
        source.refuse_commits = False
        await consumer.wait_until(lambda: source.committed == {FIRST: 5})


async def test_refused_commit_is_included_in_the_next_commit() -> None:
    source, store = MemoryEventSource([*records(5), *records(2, partition=1)]), MemoryStore()
    source.refuse_commits = True
    async with running(source, store) as consumer:
        await consumer.wait_until(lambda: len(source.commits) > 0)
        source.put(*records(5, start=5))
        await consumer.wait_until(lambda: len(store.table) == 24)
        source.refuse_commits = False
        await consumer.wait_until(lambda: source.committed == {FIRST: 10, SECOND: 2})


async def test_refused_commit_is_forgotten_when_the_partitions_are_revoked() -> None:
    """Another member may be further by now: an old offset must not be committed over a newer one."""
    source = MemoryEventSource(records(5))
    source.refuse_commits = True
    async with running(source, policy=BatchPolicy(max_events=5, linger_seconds=0)) as consumer:
        await consumer.wait_until(lambda: len(source.commits) > 0)
        source.committed[FIRST] = 100
        await source.rebalance()
        source.refuse_commits = False
        source.put(*records(1, start=100))
        await consumer.wait_until(lambda: source.committed[FIRST] != 100)
        assert source.committed == {FIRST: 101}
        assert {FIRST: 5} not in source.commits[-1:]


async def test_revoke_finishes_running_batches_and_commits_them() -> None:
    source, store = MemoryEventSource(records(5)), BlockingStore()
    async with running(source, store) as consumer:
        await consumer.wait_until(lambda: len(source.asked) > 2)
        asyncio.get_running_loop().call_later(0.05, store.unblocked.set)
        await source.rebalance()
        assert source.committed == {FIRST: 5}


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
    source, store = MemoryEventSource(records(5)), MemoryStore()
    store.down = outcome
    async with running(source, store, ONE_RECORD, on_unavailable) as consumer:
        await consumer.wait_until(lambda: source.idles > 1)
        assert consumer.hold.active
        assert source._position == {FIRST: 2}, "as many batches of one record as the concurrency"
        asked, last_beat = len(source.asked), consumer.heartbeat.last
        await consumer.wait_until(lambda: source.idles > 2)
        assert len(source.asked) == asked
        assert consumer.heartbeat.last > last_beat, "a worker that holds is alive"
        assert source.committed == {}
        store.down = None
        await consumer.wait_until(lambda: source.committed == {FIRST: 5})
        assert consumer.dead_letters == []
        assert not consumer.hold.active


async def test_hold_does_not_stop_intake_below_the_concurrency() -> None:
    """The store may accept another batch than the one that waits."""
    source, store = MemoryEventSource(records(1)), MemoryStore()
    store.down = MISCONFIGURED
    async with running(source, store, ONE_RECORD) as consumer:
        await consumer.wait_until(lambda: consumer.hold.active)
        source.put(*records(1, start=1))
        await consumer.wait_until(lambda: source._position == {FIRST: 2})
        assert consumer.hold.active


async def test_outage_dead_letters_only_what_was_in_flight_when_it_began() -> None:
    source, store = MemoryEventSource(records(20)), MemoryStore()
    store.down = UNAVAILABLE
    async with running(source, store, ONE_RECORD) as consumer:
        await consumer.wait_until(lambda: source.idles > 1)
        assert consumer.hold.active
        lost = len(consumer.dead_letters)
        assert lost in (2, 4), "two metrics of each event; at most two batches were in flight"
        await consumer.wait_until(lambda: source.idles > 2)
        assert len(consumer.dead_letters) == lost
        store.down = None
        await consumer.wait_until(lambda: source.committed == {FIRST: 20})
        assert len(consumer.dead_letters) == lost
        assert len(store.table) == 40 - lost
        assert not consumer.hold.active


async def test_stop_drops_held_batches_uncommitted() -> None:
    source, store = MemoryEventSource(records(5)), MemoryStore()
    store.down = UNAVAILABLE
    async with running(source, store, on_unavailable=OnUnavailable.HOLD) as consumer:
        await consumer.wait_until(lambda: consumer.hold.active)
        await consumer.end()
    assert source.commits == []
    assert consumer.dead_letters == []


async def test_revoke_drops_held_batches_uncommitted_and_at_once() -> None:
    source, store = MemoryEventSource(records(5)), MemoryStore()
    store.down = UNAVAILABLE
    async with running(source, store, on_unavailable=OnUnavailable.HOLD) as consumer:
        await consumer.wait_until(lambda: consumer.hold.active)
        consumer.tested._revoke_seconds = 1_000.0
        async with asyncio.timeout(5):
            await source.rebalance()
        assert source.commits == []
        store.down = None
        await consumer.wait_until(lambda: source.committed == {FIRST: 5})
        assert consumer.dead_letters == []


@pytest.mark.parametrize("on_unavailable", OnUnavailable)
async def test_first_record_that_fails_unclassified_is_refused_when_later_batches_are_written(
    on_unavailable: OnUnavailable,
) -> None:
    """No other row of its block shows whether the record or the store is the cause."""
    source = MemoryEventSource([record(event(metrics={"poison": 1}), offset=0)])
    store = MemoryStore(fails=lambda row: row.metric == "poison")
    store.down = UNAVAILABLE  # so that nothing was ever written
    async with running(source, store, on_unavailable=on_unavailable) as consumer:
        await consumer.wait_until(lambda: bool(consumer.hold.reasons))
        store.down = None
        for number in range(1, 10):
            source.put(*records(1, start=number))
            await consumer.wait_until(lambda: len(store.table) == 2 * number)  # noqa: B023 - awaited here
        await consumer.wait_until(lambda: source.committed == {FIRST: 10}, seconds=5)
        (letter,) = consumer.dead_letters
        held = on_unavailable is OnUnavailable.HOLD
        assert letter.failure.error_class is (ErrorClass.ROW_REFUSED if held else ErrorClass.STORE_UNAVAILABLE)
        assert not consumer.hold.reasons


async def test_small_batches_that_wait_do_not_stop_intake() -> None:
    """Twenty records, each in a block of its own, may be invalid: only other rows that are written can show it."""
    poison = [record(event(metrics={"poison": 1}), offset=number) for number in range(20)]
    source = MemoryEventSource([])
    store = MemoryStore(fails=lambda row: row.metric == "poison")
    async with running(source, store, BatchPolicy(max_events=100, linger_seconds=0), OnUnavailable.HOLD) as consumer:
        for number, one in enumerate(poison, 1):
            source.put(one)
            await consumer.wait_until(lambda: source._position == {FIRST: number})  # noqa: B023 - awaited here
        for number in range(20, 40):
            source.put(*records(1, start=number))
            await consumer.wait_until(lambda: source._position == {FIRST: number + 1})  # noqa: B023 - awaited here
        await consumer.wait_until(lambda: source.committed == {FIRST: 40})
        assert len(consumer.dead_letters) == 20
        assert len(store.table) == 40


async def test_full_batches_that_wait_stop_intake_at_the_concurrency() -> None:
    source, store = MemoryEventSource(records(30)), MemoryStore()
    store.down = UNAVAILABLE
    async with running(source, store, BatchPolicy(max_events=5, linger_seconds=0), OnUnavailable.HOLD) as consumer:
        await consumer.wait_until(lambda: source.idles > 1)
        assert consumer.hold.active
        assert source._position == {FIRST: 10}


async def test_uncommitted_batches_behind_a_waiting_one_are_bounded_and_then_start_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "_MAX_UNCOMMITTED_BATCHES", 5)
    monkeypatch.setattr(consumer_module, "_TRICKLE_SECONDS", 1_000.0)
    source, store = MemoryEventSource(records(30)), BlockingStore(end=1)
    async with running(source, store, ONE_RECORD) as consumer:
        await consumer.wait_until(lambda: source.idles > 1)
        assert len(store.table) == 2 * 5
        assert source.commits == []
        monkeypatch.setattr(consumer_module, "_TRICKLE_SECONDS", 0.0)
        await consumer.wait_until(lambda: len(store.table) == 2 * 29)
        assert source.commits == []
        store.unblocked.set()
        await consumer.wait_until(lambda: source.committed == {FIRST: 30})


async def test_revoke_cancels_a_running_commit() -> None:
    """After the revoke it could move the offset of another member's partition back."""

    class SlowCommits(MemoryEventSource):
        unblocked = asyncio.Event()
        started = asyncio.Event()

        async def commit(self, offsets: Mapping[Partition, int]) -> bool:
            self.started.set()
            await self.unblocked.wait()
            return await super().commit(offsets)

    source = SlowCommits(records(5))
    async with running(source) as consumer:
        await source.started.wait()
        consumer.tested._revoke_seconds = 0.1
        await consumer.tested.on_revoke()
        source.unblocked.set()
        await asyncio.sleep(0.05)
        assert source.commits == []


async def test_batches_of_large_records_stay_near_max_bytes() -> None:
    source = MemoryEventSource(records(2_000, padding=10_000))
    policy = BatchPolicy(max_events=5_000, max_bytes=1_000_000, linger_seconds=0)
    async with running(source, policy=policy) as consumer:
        await consumer.wait_until(lambda: source.committed == {FIRST: 2_000})
    # The first poll cannot know; after it no batch is much more than 100 records of 10 kB.
    batches = [offsets[FIRST] for offsets in source.commits]
    sizes = [after - before for before, after in zip([0, *batches], batches, strict=False)]
    assert max(sizes[1:]) <= 110


async def test_unexpected_exception_ends_the_consumer_and_commits_nothing() -> None:
    class FailingStore(MemoryStore):
        async def insert(self, block: Block) -> Outcome:
            raise ZeroDivisionError(len(block))

    source = MemoryEventSource(records(5))
    async with running(source, FailingStore()) as consumer:
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(20):
                await consumer.task
    assert source.commits == []
