"""Witnesses: what the store took before tells whether it takes rows now."""

import pytest

from tests.support.events import block_of, many_events
from tests.support.fakes import Error, MemoryStore, misconfigured, stored_rows, unavailable, unknown
from worker.errors import StoreError
from worker.witness import Witnesses

MONTH, OTHER_MONTH = 202601, 202512
BLOCK = block_of(many_events(4), ["a", "b"], MONTH)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def witnesses(store: MemoryStore) -> Witnesses:
    return Witnesses(store)


async def test_without_any_nothing_is_known(witnesses: Witnesses, store: MemoryStore) -> None:
    assert not witnesses
    assert witnesses.latest() is None
    assert not await witnesses.testify(MONTH)
    assert store.inserts == []


async def test_a_month_speaks_for_itself_alone(witnesses: Witnesses) -> None:
    witnesses.took(BLOCK)
    assert await witnesses.testify(MONTH)
    assert not await witnesses.testify(OTHER_MONTH)


async def test_a_block_that_is_taken_again_changes_nothing(witnesses: Witnesses, store: MemoryStore) -> None:
    await store.insert(BLOCK)
    witnesses.took(BLOCK)
    assert await witnesses.testify(MONTH)
    assert store.table == stored_rows(BLOCK)


async def test_of_a_large_block_one_row_is_kept(witnesses: Witnesses, store: MemoryStore) -> None:
    large = block_of(many_events(1_001), ["m"], MONTH)
    await store.insert(large)
    witnesses.took(large)
    assert await witnesses.testify(MONTH)
    assert store.inserts == [1_001, 1]
    assert list(store.deduplicated().values()) == stored_rows(large), "and the view shows it once"


@pytest.mark.parametrize("error", [unavailable, misconfigured, unknown])
async def test_a_store_that_does_not_take_them_is_away(witnesses: Witnesses, store: MemoryStore, error: Error) -> None:
    witnesses.took(BLOCK)
    store.fail_inserts(error, error)
    assert not await witnesses.testify(MONTH)
    with pytest.raises(StoreError):
        await witnesses.probe(MONTH)
    assert await witnesses.testify(MONTH)


async def test_a_refusal_is_an_answer_but_they_are_no_witnesses_any_more() -> None:
    witnesses = Witnesses(MemoryStore(lambda row: row.metric == "a"))
    witnesses.took(BLOCK)
    assert await witnesses.testify(MONTH)
    assert not witnesses


async def test_a_probe_tells_whether_it_has_asked_for_that_month(witnesses: Witnesses, store: MemoryStore) -> None:
    assert not await witnesses.probe(MONTH)
    witnesses.took(block_of(many_events(2), ["m"], OTHER_MONTH))
    assert not await witnesses.probe(MONTH)
    witnesses.took(BLOCK)
    assert await witnesses.probe(MONTH)
    assert (store.probes, store.inserts) == (3, [2, 8])


async def test_the_months_that_were_written_last_are_kept(witnesses: Witnesses) -> None:
    for month in range(100):
        witnesses.took(block_of(many_events(1), ["m"], month))
        witnesses.took(block_of(many_events(1), ["m"], 0))
    kept = [month for month in range(100) if await witnesses.testify(month)]
    assert kept == [0, *range(77, 100)]
