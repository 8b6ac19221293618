"""A block of several months: what the store does to rows of one month concerns no other month."""

import asyncio

import pytest

from tests.support.events import block_of, many_events
from tests.support.fakes import MISCONFIGURED, UNAVAILABLE, UNCLASSIFIED, MemoryStore, stored_rows
from tests.support.worker_harness import RETRY, WorkerHarness, open_worker_harness
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric
from worker.core.outcome import Outcome
from worker.core.times import DAY
from worker.events.block import SEVERAL_MONTHS, Block
from worker.events.completed_at import month_of_day
from worker.writing.on_unavailable import OnUnavailable


def block_of_months(rows: dict[int, int]) -> Block:
    """A shared block: so many rows of one metric, completed so many months (of 31 days) before January 2026."""
    block = Block(SEVERAL_MONTHS)
    ages = [age for age, count in rows.items() for _ in range(count)]
    for item, age in zip(many_events(len(ages)), ages, strict=True):
        block.add_rows(item._replace(completed_at=item.completed_at - age * 31 * DAY), ("m",), [float(age)])
    return block


def months_of(block: Block) -> set[int]:
    return {month_of_day(item.completed_at // DAY) for item in block.events}


def fail_month(worker: WorkerHarness, month: int, outcome: Outcome) -> None:
    """Let every INSERT with rows of `month` fail."""
    worker.store.outcome_of = lambda block: outcome if month in months_of(block) else None


def ages(failed: list[FailedMetric]) -> list[object]:
    return [item.value for item in failed]


@pytest.mark.parametrize("rows", [{0: 299, 7: 1}, {7: 1, 0: 1}, {0: 5, 1: 5, 7: 5, 8: 5}, dict.fromkeys(range(100), 1)])
async def test_only_rows_of_the_month_that_is_away_are_dead_lettered(rows: dict[int, int]) -> None:
    async with open_worker_harness() as worker:
        fail_month(worker, 202505, UNAVAILABLE)
        failed = await worker.write(block_of_months(rows))
        assert ages(failed) == [7] * rows[7]
        assert {item.failure.error_class for item in failed} == {ErrorClass.STORE_UNAVAILABLE}
        assert {item.attempts for item in failed} == {2 * RETRY.attempts}, "with the others, then alone"
        assert len(worker.store.table) == sum(rows.values()) - rows[7]
        assert len(worker.store.inserts) == 2 * RETRY.attempts + len(rows) - 1
        assert len(worker.telemetry.unanswered) == 0


async def test_month_that_is_new_to_the_worker_is_not_waited_for_after_its_block_was() -> None:
    """Since its start the worker has written blocks of several months, but none of a single month."""
    async with open_worker_harness(starts_open=True) as worker:
        for number in range(3):
            assert await worker.write(block_of_months({0: 10 + number, 3: 1})) == []
        fail_month(worker, 202505, UNAVAILABLE)
        assert ages(await worker.write(block_of_months({0: 5, 7: 1}))) == [7]


async def test_other_months_are_written_while_one_that_is_away_is_waited_for() -> None:
    """A replay keeps the rows of an outage, and must not keep those of other months."""
    async with open_worker_harness(on_unavailable=OnUnavailable.HOLD) as worker:
        fail_month(worker, 202505, UNAVAILABLE)
        written_while_holding: list[int] = []

        def recover_after_some_trials() -> None:
            if worker.hold.is_active:
                written_while_holding.append(len(worker.store.table))
            if len(written_while_holding) == 5:
                worker.store.outcome_of = lambda _: None

        worker.store.watch = recover_after_some_trials
        block = block_of_months({0: 20, 7: 3})
        assert await worker.write(block) == []
        assert written_while_holding[-1] == 20
        assert sorted(worker.store.table) == sorted(stored_rows(block))
        assert not worker.hold.is_active


@pytest.mark.parametrize("rows", [{0: 299, 7: 1}, {0: 400, 7: 400}, {7: 5, 8: 5, 0: 5}])
async def test_unclassified_failures_of_a_month_refuse_no_row_of_another(rows: dict[int, int]) -> None:
    async with open_worker_harness() as worker:
        fail_month(worker, 202505, UNCLASSIFIED)
        writing = asyncio.create_task(worker.write(block_of_months(rows)))
        other_rows = 0
        while not writing.done():  # without other writes the rows of the month would wait
            other_rows += 1
            assert await worker.write(block_of(many_events(other_rows)[-1:], ["other"])) == []
            await asyncio.sleep(0)
        assert ages(await writing) == [7] * rows[7]
        assert len(worker.store.table) == sum(rows.values()) - rows[7] + other_rows


@pytest.mark.parametrize("probe", [UNAVAILABLE, MISCONFIGURED])
async def test_block_is_not_split_into_months_while_the_whole_store_is_away(probe: Outcome) -> None:
    async with open_worker_harness() as worker:
        worker.store.outcome_of = lambda _: UNAVAILABLE
        worker.store.fail_probes(probe)
        block = block_of_months({0: 5, 7: 5})
        assert len(await worker.write(block)) == 10
        assert worker.store.inserts == [10] * RETRY.attempts


async def test_block_that_comes_during_an_outage_is_not_split_into_months() -> None:
    async with open_worker_harness(starts_open=True) as worker:
        worker.store.fail_inserts(*[UNAVAILABLE] * 20)
        block = block_of_months({0: 5, 7: 5})
        assert await worker.write(block) == []
        assert worker.store.inserts == [10] * 21


async def test_months_that_are_all_away_have_one_more_retry_budget_each() -> None:
    """The probe succeeds though no row is accepted, as with a full disk."""
    async with open_worker_harness() as worker:
        worker.store.broken = UNAVAILABLE
        assert len(await worker.write(block_of_months(dict.fromkeys(range(100), 3)))) == 300
        assert len(worker.store.inserts) == RETRY.attempts * 101


async def test_rows_written_before_the_outage_are_not_dead_lettered_with_their_month() -> None:
    """The block is refused first, and bisected; one of its parts then finds its month away."""
    store = MemoryStore(lambda row: row.value == 7)
    async with open_worker_harness(store) as worker:
        block = block_of_months({0: 4, 8: 4, 7: 1})
        store.fail_inserts(None, None, *[UNAVAILABLE] * RETRY.attempts)
        failed = await worker.write(block)
        assert ages(failed) == [7]
        assert {item.failure.error_class for item in failed} == {ErrorClass.ROW_REFUSED}
        assert len(store.table) == 8
