"""Witnesses: what the store took before tells whether it takes rows now."""

import pytest

from tests.support.events import block_of, event, many_events, read
from tests.support.fakes import Error, MemoryStore, misconfigured, unavailable, unknown
from worker.block import Block
from worker.errors import StoreError
from worker.writing.witness import Life, Witnesses

MONTH, OTHER_MONTH = 202601, 202512
BLOCK = block_of(many_events(4), ["a", "b"], MONTH)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def witnesses(store: MemoryStore) -> Witnesses:
    return Witnesses(store)


async def test_without_any_the_store_can_only_answer(witnesses: Witnesses, store: MemoryStore) -> None:
    assert await witnesses.testify(MONTH) is Life.ANSWERS
    store.down = unavailable
    assert await witnesses.testify(MONTH) is Life.AWAY


async def test_a_month_speaks_for_itself_where_it_can_and_else_another(
    witnesses: Witnesses, store: MemoryStore
) -> None:
    witnesses.took(block_of(many_events(3), ["m"], OTHER_MONTH))
    assert not witnesses.speaks_for(MONTH)
    assert await witnesses.testify(MONTH) is Life.TAKES
    witnesses.took(BLOCK)
    assert witnesses.speaks_for(MONTH)
    assert await witnesses.testify(MONTH) is Life.TAKES
    assert [row.metric_type for row in store.witnessed] == ["m", "b"]


async def test_never_shows_in_the_view(witnesses: Witnesses, store: MemoryStore) -> None:
    """Not even where the same execution came twice within one millisecond, and the order of inserts decides."""
    (first,), (second,) = many_events(1), many_events(1)
    twice = Block(MONTH)
    twice.add(first, ["m"], [1.0])
    await store.insert(twice)
    witnesses.took(twice)
    again = Block(MONTH)
    again.add(second, ["m"], [2.0])
    await store.insert(again)
    shown = store.deduplicated()
    assert await witnesses.testify(MONTH) is Life.TAKES
    assert store.deduplicated() == shown
    assert len(store.witnessed) == 1


async def test_keeps_nothing_of_the_event_but_what_is_written() -> None:
    asked: list[Block] = []

    class Curious(MemoryStore):
        async def probe(self, witness: Block | None = None) -> None:
            asked.extend([witness] if witness else [])

    item = event(metrics={"m": 1, "text": "x" * 1_000_000})
    block = Block(MONTH)
    block.add(read(item), ["m"], [1.0])
    witnesses = Witnesses(Curious())
    witnesses.took(block)
    await witnesses.testify(MONTH)
    (row,) = asked[0].rows()
    assert row.event.metrics == {}
    assert not row.event.record.value


@pytest.mark.parametrize("error", [unavailable, misconfigured, unknown])
async def test_a_store_that_does_not_take_them_is_away(witnesses: Witnesses, store: MemoryStore, error: Error) -> None:
    witnesses.took(BLOCK)
    store.broken = error
    assert await witnesses.testify(MONTH) is Life.AWAY
    with pytest.raises(StoreError):
        await witnesses.probe(MONTH)
    store.broken = None
    assert await witnesses.testify(MONTH) is Life.TAKES


async def test_a_refusal_is_an_answer_but_says_nothing_of_other_rows() -> None:
    witnesses = Witnesses(MemoryStore(lambda row: row.metric == "b"))
    witnesses.took(BLOCK)
    assert await witnesses.testify(MONTH) is Life.ANSWERS
    assert not witnesses.speaks_for(MONTH)


async def test_the_months_that_were_written_last_are_kept(witnesses: Witnesses) -> None:
    for month in range(100):
        witnesses.took(block_of(many_events(1), ["m"], month))
        witnesses.took(block_of(many_events(1), ["m"], 0))
    kept = [month for month in range(100) if witnesses.speaks_for(month)]
    assert kept == [0, *range(77, 100)]
