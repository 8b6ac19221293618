"""Rows and records that are written, failed or dropped are freed without a garbage collection, which is rare in the
worker.

They are most of its memory: nothing that is kept may refer to the frames that held them, or form a cycle with them.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.support.clock import until
from tests.support.events import JANUARY_2026, Record, encoded, event
from tests.support.fakes import MISCONFIGURED, TOO_LARGE, UNAVAILABLE, UNCLASSIFIED, MemoryStore
from tests.support.memory_event_source import MemoryEventSource
from tests.support.worker_harness import WorkerHarness, open_worker_harness
from worker.batch_reader import BatchPolicy
from worker.consumer import Consumer
from worker.core.heartbeat import Heartbeat
from worker.core.model import Event, Row, size_of
from worker.core.outcome import Outcome
from worker.events.block import Block
from worker.events.fan_out import FanOut
from worker.ports import Partition, Polled
from worker.writing.on_unavailable import OnUnavailable


class Store(MemoryStore):
    """Keeps no blocks; while `hanging` is set an insert does not return."""

    hanging = False
    called = 0

    async def insert(self, block: Block) -> Outcome:
        self.called += 1
        if self.hanging:
            await asyncio.Event().wait()
        outcome = await super().insert(block)
        self._acknowledged_blocks.clear()
        return outcome


class StreamedRecord(Record):
    """A record that only the worker refers to."""


class StreamingEventSource(MemoryEventSource):
    """Makes records when they are polled, and keeps none; returns so many, then nothing."""

    def __init__(self, count: int) -> None:
        super().__init__([StreamedRecord(None)])  # it owns their partition
        self._left = count

    async def poll(self, max_records: int, *_: object) -> Polled:
        """See `EventSource`."""
        await asyncio.sleep(0)
        count = min(self._left, max_records)
        self._left -= count
        records = [StreamedRecord(encoded(event())) for _ in range(count)]
        return Polled(records, sum(map(size_of, records)), {Partition("execution-completed", 0): 1})


def count_living(kind: type[object]) -> int:
    return sum(type(one) is kind for one in gc.get_objects())


def count_living_events() -> int:
    return count_living(Event)


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.collect()
    gc.freeze()  # what was there before the test is none of its rows, and is much to look through
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def is_invalid(row: Row) -> bool:
    return row.metric == "b" and row.event.execution_id[-2:] in {"00", "03", "06", "09", "12", "15"}


STORES: dict[str, Callable[[], Store]] = {
    "written": Store,
    "refused": lambda: Store(is_invalid),
    "refused, the constraint named": lambda: Store(is_invalid, names_constraint=True),
    "unclassified": lambda: Store(fails=is_invalid),
}


def batch(number: int) -> list[Record]:
    return [
        Record(
            encoded(event(execution_id=f"00000000-0000-0000-{number:04}-{offset:012}", metrics={"a": 3, "b": 4})),
            offset=offset,
            timestamp=JANUARY_2026 + offset,
        )
        for offset in range(50)
    ]


async def process_and_count(worker: WorkerHarness, number: int) -> int:
    """Process a batch; returns how many events are in memory after it."""
    await worker.pipeline.process(batch(number))
    worker.dead_letters.letters.clear()
    return count_living_events()


@pytest.mark.parametrize("failing", [UNAVAILABLE, TOO_LARGE, MISCONFIGURED, UNCLASSIFIED], ids=lambda it: it.kind.value)
@pytest.mark.parametrize("times", [0, 1, 3], ids=["at once", "at the second attempt", "beyond the budget"])
@pytest.mark.parametrize("kind", STORES)
async def test_written_and_failed_rows_are_freed(kind: str, times: int, failing: Outcome) -> None:
    store = STORES[kind]()
    async with open_worker_harness(store) as worker:
        before = await process_and_count(worker, 0)
        for number in range(1, 4):
            store.fail_inserts(*[failing] * times)
            worker.dead_letters.fail_writes(None, {1, 2}, None)
            assert await process_and_count(worker, number) <= before


@pytest.mark.parametrize("waits_for", ["store that hangs", "store that is unavailable", "dead letters"])
async def test_dropped_batches_are_freed(waits_for: str) -> None:
    store = Store(is_invalid)
    async with open_worker_harness(store, OnUnavailable.HOLD) as worker:
        before = count_living_events()
        store.hanging = waits_for == "store that hangs"
        worker.dead_letters.fail_writes(*[None] * 1_000_000 if waits_for == "dead letters" else [])
        for number in range(3):
            store.called = 0
            store.down = UNAVAILABLE if waits_for == "store that is unavailable" else None
            task = asyncio.create_task(worker.pipeline.process(batch(number)))
            await until(lambda: store.called > 0 and (store.hanging or worker.hold.is_active))
            assert count_living_events() >= before + 50
            task.cancel()
            await asyncio.wait([task])
            del task
            assert count_living_events() <= before
            store.down = None
            await until(lambda: not worker.hold.is_active)


async def test_batches_dropped_by_a_revoke_are_freed() -> None:
    source, store = MemoryEventSource(batch(0)), Store()
    store.hanging = True
    policy = BatchPolicy(linger_seconds=0)
    async with open_worker_harness(store) as worker:
        consumer = Consumer(
            source,
            worker.pipeline,
            worker.hold,
            policy,
            Heartbeat(),
            concurrency=2,
            revoke_seconds=0.02,
            stop_seconds=1,
        )
        running = asyncio.create_task(consumer.run(asyncio.Event()))
        before = count_living_events()
        for _ in range(4):
            store.called = 0
            await until(lambda: store.called > 0)
            assert count_living_events() == before + 50, "those that came again"
            await source.rebalance()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_records_of_a_batch_are_freed_when_it_is_processed() -> None:
    """Not when the next one is read: that may be in an hour, or be as large."""
    source = StreamingEventSource(50)
    async with open_worker_harness(Store()) as worker:
        consumer = Consumer(
            source,
            worker.pipeline,
            worker.hold,
            BatchPolicy(linger_seconds=0),
            Heartbeat(),
            concurrency=2,
            revoke_seconds=0.02,
            stop_seconds=1,
        )
        running = asyncio.create_task(consumer.run(asyncio.Event()))
        await until(lambda: source.commits != [])
        await until(lambda: count_living(StreamedRecord) == 1)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_only_one_part_of_a_large_batch_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a part are freed before the records of the next one are decoded."""
    one = FanOut()
    one.add_record(batch(0)[0])
    monkeypatch.setattr("worker.pipeline.MAX_BYTES", one.bytes)
    living: list[int] = []

    class WatchedBatch(list[Record]):
        def __iter__(self) -> Iterator[Record]:
            for record in super().__iter__():
                living.append(count_living_events())
                yield record

    store = Store()
    async with open_worker_harness(store) as worker:
        await worker.pipeline.process(WatchedBatch(batch(0)))
    assert store.inserts == [2] * 50
    assert max(living) == living[0]
