"""What is done with, or dropped, is freed at once: the worker's collector runs rarely, and rows are most of its memory.

Nothing may lead from an error that somebody keeps to the frames that it went through, and from there to it again.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.support.events import JANUARY_2026, Record, block_of, encoded, event, many_events
from tests.support.fakes import MemoryStore, unavailable
from tests.support.memory_inbox import MemoryInbox
from tests.support.rig import Rig, rig
from worker.batch import BatchPolicy
from worker.block import Block
from worker.consumer import Consumer
from worker.model import Event, Row
from worker.writing.writer import OnUnavailable


class Store(MemoryStore):
    """Keeps nothing itself, and hangs while it is told to."""

    hanging = False
    called = 0

    async def insert(self, block: Block) -> None:
        self.called += 1
        if self.hanging:
            await asyncio.Event().wait()
        await super().insert(block)
        self._acknowledged_blocks.clear()


def living() -> int:
    return sum(type(one) is Event for one in gc.get_objects())


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def guilty(row: Row) -> bool:
    return row.metric == "b" and row.event.execution_id.int % 3 == 0


STORES: dict[str, Callable[[], Store]] = {
    "sound": Store,
    "refused": lambda: Store(guilty),
    "refused, the row named": lambda: Store(guilty, names_row=True),
    "refused, the constraint named": lambda: Store(guilty, names_constraint=True),
    "failed for a reason that nobody knows": lambda: Store(fails=guilty),
}


async def write(worker: Rig, number: int) -> None:
    events = [one._replace(completed_at=one.completed_at + number) for one in many_events(50)]
    await worker.writer.write(block_of(events, ["a", "b"]))


@pytest.mark.parametrize("away", [0, 1, 3], ids=["at once", "at the second time", "never"])
@pytest.mark.parametrize("kind", STORES)
async def test_rows_that_are_written_or_failed(kind: str, away: int) -> None:
    store = STORES[kind]()
    async with rig(store) as worker:
        await write(worker, 0)
        before = living()
        for number in range(1, 4):
            store.fail_inserts(*[unavailable] * away)
            await write(worker, number)
            assert living() <= before


def batch(number: int) -> list[Record]:
    return [
        Record(
            encoded(event(execution_id=f"00000000-0000-0000-{number:04}-{offset:012}", metrics={"a": 3, "b": 4})),
            offset=offset,
            timestamp=JANUARY_2026 + offset,
        )
        for offset in range(50)
    ]


@pytest.mark.parametrize("kind", STORES)
async def test_batches_whose_dead_letters_had_to_wait(kind: str) -> None:
    async with rig(STORES[kind]()) as worker:
        await worker.pipeline.process(batch(0))
        worker.dead_letters.letters.clear()
        before = living()
        for number in range(1, 4):
            worker.dead_letters.fail_puts(None, {1, 2}, None)
            await worker.pipeline.process(batch(number))
            worker.dead_letters.letters.clear()
            assert living() <= before


@pytest.mark.parametrize("where", ["while the store hangs", "while the store is away", "while dead letters wait"])
async def test_batches_that_are_dropped(where: str) -> None:
    store = Store(guilty)
    async with rig(store, OnUnavailable.HOLD) as worker:
        await write(worker, 0)
        store.hanging = where == "while the store hangs"
        store.down = unavailable if where == "while the store is away" else None
        worker.dead_letters.fail_puts(*[None] * 1_000_000 if where == "while dead letters wait" else [])
        before = living()
        for number in range(3):
            store.called = 0
            task = asyncio.create_task(worker.pipeline.process(batch(number)))
            await until(lambda: store.called > 0 and (store.hanging or bool(worker.hold.reasons)))
            assert living() >= before + 50
            task.cancel()
            await asyncio.wait([task])
            del task
            assert living() <= before
            store.down = None
            await until(lambda: not worker.hold.reasons)
            store.down = unavailable if where == "while the store is away" else None


async def test_batches_that_a_revoke_drops() -> None:
    inbox, store = MemoryInbox(batch(0)), Store()
    store.hanging = True
    policy = BatchPolicy(linger_seconds=0)
    async with rig(store) as worker:
        consumer = Consumer(
            inbox, worker.pipeline, worker.hold, policy, concurrency=2, revoke_seconds=0.02, stop_seconds=1.0
        )
        running = asyncio.create_task(consumer.run(asyncio.Event()))
        before = living()
        for _ in range(4):
            store.called = 0
            await until(lambda: store.called > 0)
            assert living() == before + 50, "those that came again"
            await inbox.rebalance()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - of things that know no event
            await asyncio.sleep(0)
