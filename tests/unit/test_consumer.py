"""The consumer: how much it reads, when it commits, and what it leaves to be redelivered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from uuid import UUID

import pytest

from tests.support.events import event, record
from tests.support.fakes import MISCONFIGURED, UNAVAILABLE, UNCLASSIFIED, MemoryStore
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
from worker.writing.on_unavailable import OnUnavailable

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

    def __init__(
        self, worker: WorkerHarness, source: MemoryEventSource, policy: BatchPolicy, revoke_seconds: float
    ) -> None:
        self.source = source
        self.store = worker.store
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
            revoke_seconds=revoke_seconds,
            stop_seconds=5,
        )
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.tested.run(self.stop))

    @property
    def committed(self) -> dict[Partition, int]:
        return self.source.committed

    async def wait_until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
                if self.task.done():
                    self.task.result()

    async def wait_until_committed(self, committed: dict[Partition, int]) -> None:
        await self.wait_until(lambda: self.committed == committed)

    async def wait_for_hold(self) -> None:
        await self.wait_until(lambda: self.hold.is_active)

    async def wait_until_read(self, end: int) -> None:
        """Wait until the offsets before `end` of the first partition are read."""
        await self.wait_until(lambda: self.source._position == {FIRST: end})

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(20):
            await self.task


def batches_of(max_events: int) -> BatchPolicy:
    return BatchPolicy(max_events=max_events, linger_seconds=0)


@asynccontextmanager
async def running(
    source: MemoryEventSource | list[Record],
    store: MemoryStore | None = None,
    policy: BatchPolicy | None = None,
    on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
    down: Outcome | None = None,
    revoke_seconds: float = 5,
) -> AsyncIterator[RunningConsumer]:
    """Run a consumer of a source, or of some records; while `down` is set the store has that outcome."""
    async with open_worker_harness(store, on_unavailable) as worker:
        worker.store.down = down
        source = MemoryEventSource(source) if isinstance(source, list) else source
        consumer = RunningConsumer(worker, source, policy or BatchPolicy(linger_seconds=0), revoke_seconds)
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
    async with running([*records(30), *records(20, partition=1)]) as consumer:
        await consumer.wait_until_committed({FIRST: 30, SECOND: 20})
        assert len(consumer.store.table) == 100
        await consumer.end()


async def test_nothing_is_committed_before_it_is_written() -> None:
    async with running(records(5), store := BlockingStore()) as consumer:
        await consumer.wait_until(lambda: len(consumer.source.asked) > 3)
        assert consumer.source.commits == []
        store.unblocked.set()
        await consumer.wait_until_committed({FIRST: 5})


async def test_refused_commit_is_retried_together_with_later_ones() -> None:
    source = MemoryEventSource([*records(5), *records(2, partition=1)])
    source.refuse_commits = True
    async with running(source) as consumer:
        await consumer.wait_until(lambda: len(source.commits) > 0)
        source.put(*records(5, start=5))
        await consumer.wait_until(lambda: len(consumer.store.table) == 24)
        assert source.committed == {}
        source.refuse_commits = False
        await consumer.wait_until_committed({FIRST: 10, SECOND: 2})


async def test_refused_commit_is_forgotten_when_the_partitions_are_revoked() -> None:
    """Another member may be further by now: an old offset must not be committed over a newer one."""
    source = MemoryEventSource([*records(5), *records(2, partition=1)])
    source.refuse_commits = True
    async with running(source) as consumer:
        await consumer.wait_until(lambda: {FIRST: 5, SECOND: 2} in source.commits)
        source.committed |= {FIRST: 100, SECOND: 100}
        await source.rebalance()
        source.refuse_commits = False
        source.put(*records(1, start=100))
        await consumer.wait_until_committed({FIRST: 101, SECOND: 100})
        assert source.commits[-1] == {FIRST: 101}


async def test_revoke_finishes_running_batches_and_commits_them() -> None:
    async with running(records(5), store := BlockingStore()) as consumer:
        await consumer.wait_until(lambda: len(consumer.source.asked) > 2)
        asyncio.get_running_loop().call_later(0.05, store.unblocked.set)
        await consumer.source.rebalance()
        assert consumer.committed == {FIRST: 5}


@pytest.mark.parametrize(
    ("outcome", "on_unavailable", "size"),
    [
        (MISCONFIGURED, OnUnavailable.DEAD_LETTER, 1),
        (MISCONFIGURED, OnUnavailable.HOLD, 1),
        (UNAVAILABLE, OnUnavailable.HOLD, 5),
        (UNCLASSIFIED, OnUnavailable.HOLD, 5),
    ],
)
async def test_hold_stops_intake_at_the_concurrency_and_polling_goes_on(
    outcome: Outcome, on_unavailable: OnUnavailable, size: int
) -> None:
    async with running(records(5 * size), None, batches_of(size), on_unavailable, down=outcome) as consumer:
        source = consumer.source
        await consumer.wait_until(lambda: source.idles > 1)
        assert consumer.hold.is_active
        assert source._position == {FIRST: 2 * size}, "as many full batches as the concurrency"
        asked, last_beat = len(source.asked), consumer.heartbeat.last
        await consumer.wait_until(lambda: source.idles > 2)
        assert len(source.asked) == asked
        assert consumer.heartbeat.last > last_beat, "a worker that holds is alive"
        assert source.committed == {}
        consumer.store.down = None
        await consumer.wait_until_committed({FIRST: 5 * size})
        assert consumer.dead_letters == []
        assert not consumer.hold.is_active


async def test_hold_lets_small_batches_start_up_to_the_concurrency() -> None:
    """The store may accept another batch than the one that waits."""
    async with running(records(1), None, batches_of(100), down=MISCONFIGURED) as consumer:
        await consumer.wait_for_hold()
        for number in (1, 2):
            consumer.source.put(*records(1, start=number))
            await consumer.wait_until_read(2)
        await consumer.wait_until(lambda: consumer.source.idles > 1)
        assert consumer.source._position == {FIRST: 2}


async def test_outage_dead_letters_only_what_was_in_flight_when_it_began() -> None:
    async with running(records(20), None, batches_of(1), down=UNAVAILABLE) as consumer:
        await consumer.wait_until(lambda: consumer.source.idles > 1)
        assert consumer.hold.is_active
        lost = len(consumer.dead_letters)
        assert lost in (2, 4), "two metrics of each event; at most two batches were in flight"
        consumer.store.down = None
        await consumer.wait_until_committed({FIRST: 20})
        assert len(consumer.dead_letters) == lost
        assert len(consumer.store.table) == 40 - lost
        assert not consumer.hold.is_active


async def test_stop_drops_held_batches_uncommitted() -> None:
    async with running(records(5), on_unavailable=OnUnavailable.HOLD, down=UNAVAILABLE) as consumer:
        await consumer.wait_for_hold()
        await consumer.end()
    assert consumer.source.commits == []
    assert consumer.dead_letters == []


async def test_revoke_drops_held_batches_uncommitted_and_at_once() -> None:
    async with running(
        records(5), on_unavailable=OnUnavailable.HOLD, down=UNAVAILABLE, revoke_seconds=1_000
    ) as consumer:
        await consumer.wait_for_hold()
        async with asyncio.timeout(5):
            await consumer.source.rebalance()
        assert consumer.source.commits == []
        consumer.store.down = None
        await consumer.wait_until_committed({FIRST: 5})
        assert consumer.dead_letters == []


def poison_record(offset: int) -> Record:
    return record(event(metrics={"poison": 1}), offset=offset)


def store_that_fails_for_poison() -> MemoryStore:
    return MemoryStore(fails=lambda row: row.metric == "poison")


@pytest.mark.parametrize("on_unavailable", OnUnavailable)
async def test_first_record_that_fails_unclassified_is_refused_when_later_batches_are_written(
    on_unavailable: OnUnavailable,
) -> None:
    """No other row of its block shows whether the record or the store is the cause."""
    # At first the store is down, so that nothing was ever written.
    store = store_that_fails_for_poison()
    async with running([poison_record(0)], store, on_unavailable=on_unavailable, down=UNAVAILABLE) as consumer:
        await consumer.wait_for_hold()
        store.down = None
        for number in range(1, 10):
            consumer.source.put(*records(1, start=number))
            await consumer.wait_until(lambda: len(store.table) == 2 * number)  # noqa: B023 - awaited here
        await consumer.wait_until_committed({FIRST: 10})
        (letter,) = consumer.dead_letters
        held = on_unavailable is OnUnavailable.HOLD
        assert letter.failure.error_class is (ErrorClass.ROW_REFUSED if held else ErrorClass.STORE_UNAVAILABLE)
        assert not consumer.hold.reasons


async def test_small_batches_that_wait_do_not_stop_intake() -> None:
    """Twenty records, each in a block of its own, may be invalid: only other rows that are written can show it."""
    store, policy = store_that_fails_for_poison(), batches_of(100)
    async with running([], store, policy, OnUnavailable.HOLD) as consumer:
        for one in (*map(poison_record, range(20)), *records(20, start=20)):
            consumer.source.put(one)
            await consumer.wait_until_read(one.offset + 1)
        await consumer.wait_until_committed({FIRST: 40})
        assert len(consumer.dead_letters) == 20
        assert len(store.table) == 40


async def test_uncommitted_batches_behind_a_waiting_one_are_bounded_and_then_start_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "_MAX_UNCOMMITTED_BATCHES", 5)
    monkeypatch.setattr(consumer_module, "_TRICKLE_SECONDS", 1_000.0)
    async with running(records(30), store := BlockingStore(end=1), batches_of(1)) as consumer:
        await consumer.wait_until(lambda: consumer.source.idles > 1)
        assert len(store.table) == 2 * 5
        monkeypatch.setattr(consumer_module, "_TRICKLE_SECONDS", 0.0)
        await consumer.wait_until(lambda: len(store.table) == 2 * 29)
        assert consumer.source.commits == []
        store.unblocked.set()
        await consumer.wait_until_committed({FIRST: 30})


async def test_revoke_cancels_a_running_commit() -> None:
    """After the revoke it could move the offset of another member's partition back."""
    source = SlowCommits(records(5))
    async with running(source, revoke_seconds=0.1) as consumer:
        await source.started.wait()
        await consumer.tested.on_revoke()
        source.unblocked.set()
        await asyncio.sleep(0.05)
        assert source.commits == []


async def test_offset_in_a_log_that_is_gone_is_not_committed() -> None:
    """After a restart the new log, which has grown beyond it, would be read from there on."""
    source = MemoryEventSource([*records(5), *records(2, partition=1)])
    async with running(source, store := BlockingStore()) as consumer:
        await consumer.wait_until(lambda: source._position == {FIRST: 5, SECOND: 2})
        source.replace_log(FIRST, 0)
        await consumer.wait_until_committed({FIRST: 0})
        assert store.table == [], "the start is committed at once: no record of the new log is before it"
        store.unblocked.set()
        await consumer.wait_until_committed({FIRST: 0, SECOND: 2})
        source.put(*records(3))
        await consumer.wait_until_committed({FIRST: 3, SECOND: 2})
    assert source.commits == [{FIRST: 0}, {SECOND: 2}, {FIRST: 3}]


async def test_offset_of_a_batch_that_is_read_while_its_log_is_replaced_is_not_committed() -> None:
    policy = BatchPolicy(max_events=5, linger_seconds=1_000)
    async with running(records(3), policy=policy) as consumer:
        await consumer.wait_until_read(3)
        consumer.source.replace_log(FIRST, 0)
        await consumer.wait_until_committed({FIRST: 0})
        consumer.source.put(*records(2, partition=1))
        await consumer.wait_until_committed({FIRST: 0, SECOND: 2})
        assert len(consumer.store.table) == 10, "records that were read of the log are written"


async def test_batch_of_two_logs_commits_the_offset_in_the_new_one() -> None:
    policy = BatchPolicy(max_events=5, linger_seconds=1_000)
    async with running(records(3), policy=policy) as consumer:
        await consumer.wait_until_read(3)
        consumer.source.replace_log(FIRST, 0, *records(2))
        await consumer.wait_until_committed({FIRST: 2})
    assert consumer.source.commits == [{FIRST: 0}, {FIRST: 2}]


async def test_refused_commit_is_forgotten_when_its_log_is_gone() -> None:
    source = MemoryEventSource([*records(5), *records(2, partition=1)])
    source.refuse_commits = True
    async with running(source) as consumer:
        await consumer.wait_until(lambda: len(source.commits) > 0)
        source.replace_log(FIRST, 0)
        await consumer.wait_until(lambda: source.commits[-1] == {FIRST: 0, SECOND: 2})
        source.refuse_commits = False
        await consumer.wait_until_committed({FIRST: 0, SECOND: 2})


class HaltingStore(MemoryStore):
    """Inserts so many blocks; the next ones wait until `unblocked` is set."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.unblocked = asyncio.Event()
        self.halted = asyncio.Event()
        self._blocks = blocks

    async def insert(self, block: Block) -> Outcome:
        if self._blocks <= 0:
            self.halted.set()
            await self.unblocked.wait()
        self._blocks -= 1
        return await super().insert(block)


async def test_batch_that_is_processed_in_parts_is_committed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one that takes longer than the time between two restarts would begin again and again."""
    monkeypatch.setattr("worker.pipeline.MAX_BYTES", 1)
    store = HaltingStore(blocks=4)
    async with running([*records(3), *records(2, partition=1)], store, revoke_seconds=0.05) as consumer:
        await consumer.wait_until_committed({FIRST: 3, SECOND: 1})
        await consumer.source.rebalance()
        store.unblocked.set()
        await consumer.wait_until_committed({FIRST: 3, SECOND: 2})
    assert len(store.acknowledged) == 10, "the rows of each record, once"


async def test_parts_of_a_later_batch_are_not_committed_before_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.pipeline.MAX_BYTES", 1)
    async with running(records(6), store := BlockingStore(end=1), batches_of(3)) as consumer:
        await consumer.wait_until(lambda: len(store.table) >= 4)
        assert consumer.source.commits == []
        store.unblocked.set()
        await consumer.wait_until_committed({FIRST: 6})


async def test_part_of_a_log_that_is_gone_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of the new log are in the same batch, before that offset."""
    monkeypatch.setattr("worker.pipeline.MAX_BYTES", 1)
    store, policy = HaltingStore(blocks=3), BatchPolicy(max_events=8, linger_seconds=1_000)
    async with running(records(3), store, policy) as consumer:
        await consumer.wait_until_read(3)
        consumer.source.replace_log(FIRST, 0, *records(5))
        await store.halted.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert consumer.source.commits == [{FIRST: 0}]
        store.unblocked.set()
        await consumer.wait_until_committed({FIRST: 5})


class SlowCommits(MemoryEventSource):
    """Does not commit before `unblocked` is set."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__(records)
        self.unblocked = asyncio.Event()
        self.started = asyncio.Event()

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        self.started.set()
        await self.unblocked.wait()
        return await super().commit(offsets)


@pytest.mark.parametrize("start", [0, 40])
async def test_start_of_a_log_is_committed_after_a_running_commit(start: int) -> None:
    async with running(source := SlowCommits(records(5))) as consumer:
        await source.started.wait()
        source.replace_log(FIRST, start)
        await consumer.wait_until_read(start)
        source.unblocked.set()
        await consumer.wait_until(lambda: len(source.commits) == 2)
    assert source.commits == [{FIRST: 5}, {FIRST: start}]


async def test_start_after_expired_records_is_committed_when_what_was_read_before_is_done() -> None:
    """A crash would lose it, and a committed start would hide that."""
    async with running(records(10), store := BlockingStore(), batches_of(5)) as consumer:
        await consumer.wait_until_read(10)
        consumer.source.replace_log(FIRST, 40)
        await consumer.wait_until_read(40)
        await consumer.wait_until(lambda: consumer.source.idles > 1)
        assert consumer.source.commits == []
        store.unblocked.set()
        await consumer.wait_until_committed({FIRST: 40})
    assert consumer.source.commits == [{FIRST: 5}, {FIRST: 40}]


async def test_record_that_reaches_max_bytes_is_the_last_of_its_batch() -> None:
    policy = BatchPolicy(max_events=5_000, max_bytes=1_000_000, linger_seconds=0)
    async with running(records(2_000, padding=10_000), policy=policy) as consumer:
        await consumer.wait_until_committed({FIRST: 2_000})
    sizes = [after[FIRST] - before[FIRST] for before, after in pairwise([{FIRST: 0}, *consumer.source.commits])]
    assert max(sizes) <= 100


async def test_record_larger_than_all_batches_delays_the_next_batch() -> None:
    policy = BatchPolicy(max_events=100, max_bytes=1_000, linger_seconds=0)
    sent = [*records(1, padding=2_000), *records(1, start=1)]
    async with running(sent, store := BlockingStore(), policy=policy) as consumer:
        await consumer.wait_until(lambda: consumer.source.idles > 1)
        assert consumer.source._position == {FIRST: 1}
        store.unblocked.set()
        await consumer.wait_until_committed({FIRST: 2})


async def test_unexpected_exception_ends_the_consumer_and_commits_nothing() -> None:
    async with running(records(5)) as consumer:
        consumer.store.watch = lambda: 1 // 0
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(20):
                await consumer.task
    assert consumer.source.commits == []
