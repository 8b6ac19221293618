"""The writer: every row of a block is acknowledged or comes back as failed, and only invalid rows are refused."""

import asyncio
from collections import Counter
from random import Random
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support import strategies
from tests.support.clock import until
from tests.support.events import block_of, many_events, rows_of
from tests.support.fakes import MISCONFIGURED, REFUSED, TOO_LARGE, UNAVAILABLE, UNCLASSIFIED, MemoryStore, stored_rows
from tests.support.worker_harness import RETRY, open_worker_harness
from worker.core.errors import ErrorClass
from worker.core.hold import Cause
from worker.core.model import FailedMetric, Failure, Row
from worker.core.outcome import WRITTEN, Outcome
from worker.core.retry import RetryPolicy
from worker.core.times import DAY
from worker.events.block import SEVERAL_MONTHS, Block
from worker.writing.on_unavailable import OnUnavailable

BLOCK = block_of(many_events(4), ["a", "b"])
"""Eight rows, values 0 to 7; those of metric b are odd."""
BOTH_POLICIES = pytest.mark.parametrize("on_unavailable", OnUnavailable)


def values(failed: list[FailedMetric]) -> list[float]:
    return sorted(item.value for item in failed if not isinstance(item.value, tuple))


def classes(failed: list[FailedMetric]) -> set[ErrorClass]:
    return {item.failure.error_class for item in failed}


def values_in_table(store: MemoryStore) -> list[float]:
    return sorted(row.metric_value for row in store.table)


def block_of_failed(failed: list[FailedMetric]) -> Block:
    return Block.from_rows(202601, (Row(item.event, item.metric, cast("float", item.value)) for item in failed))


# Unavailable


@pytest.mark.parametrize(("outcome", "failures"), [(UNAVAILABLE, 0), (UNAVAILABLE, 2), (UNCLASSIFIED, 5)])
async def test_failure_within_the_retry_budget_is_only_retried(outcome: Outcome, failures: int) -> None:
    async with open_worker_harness() as worker:
        worker.store.fail_inserts(*[outcome] * failures)
        assert await worker.write(BLOCK) == []
        assert worker.store.inserts == [8] * (1 + failures)
        assert worker.store.table == stored_rows(BLOCK)
        assert not worker.hold.is_active
        first_retries_at_once = outcome is UNCLASSIFIED
        assert len(worker.clock.slept) == failures - first_retries_at_once


async def test_outage_beyond_the_budget_dead_letters_every_row_and_holds() -> None:
    async with open_worker_harness() as worker:
        worker.store.down = UNAVAILABLE
        failed = await worker.write(BLOCK)
        assert rows_of(block_of_failed(failed)) == rows_of(BLOCK)
        expected = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "connection refused", 210)
        assert {item.failure for item in failed} == {expected}
        assert {item.attempts for item in failed} == {RETRY.attempts}
        assert worker.store.inserts == [8] * RETRY.attempts, "never split"
        assert worker.hold.reasons == {Cause.STORE: "NETWORK_ERROR: connection refused"}
        assert len(worker.telemetry.unanswered) == 0, "given up"


@pytest.mark.parametrize(
    ("outcome", "on_unavailable"),
    [(UNAVAILABLE, OnUnavailable.HOLD), *((MISCONFIGURED, policy) for policy in OnUnavailable)],
)
async def test_other_outages_hold_until_every_row_is_written(outcome: Outcome, on_unavailable: OnUnavailable) -> None:
    reasons: list[dict[Cause, str]] = []
    async with open_worker_harness(on_unavailable=on_unavailable) as worker:
        worker.clock.watch = lambda: reasons.append(dict(worker.hold.reasons))
        worker.store.fail_inserts(*[outcome] * 10)
        assert await worker.write(BLOCK) == []
        assert reasons[-1] == {Cause.STORE: str(outcome)}
        holds_at_once = outcome is MISCONFIGURED
        assert reasons.count({}) == (0 if holds_at_once else RETRY.attempts - 1)
        assert not worker.hold.is_active
        assert worker.store.inserts == [8] * 11, "one attempt at a time, never split"
        assert worker.store.table == stored_rows(BLOCK)


@BOTH_POLICIES
async def test_block_that_comes_after_the_start_of_an_outage_is_not_dead_lettered(
    on_unavailable: OnUnavailable,
) -> None:
    async with open_worker_harness(on_unavailable=on_unavailable) as worker:
        worker.store.fail_inserts(*[UNAVAILABLE] * 30)
        first = asyncio.create_task(worker.write(BLOCK))
        await until(lambda: worker.hold.is_active)
        later = [asyncio.create_task(worker.write(block_of(many_events(n), ["c"]))) for n in (1, 2)]
        assert await asyncio.gather(*later) == [[], []]
        assert len(await first) == (8 if on_unavailable is OnUnavailable.DEAD_LETTER else 0)
        assert not worker.hold.is_active


async def test_lost_answers_make_no_duplicate() -> None:
    async with open_worker_harness() as worker:
        worker.store.lose_answers(RETRY.attempts - 1)
        assert await worker.write(BLOCK) == []
        assert len(worker.store.inserts) == RETRY.attempts
        assert worker.store.table == stored_rows(BLOCK)


async def test_rows_written_before_an_outage_are_not_dead_lettered() -> None:
    store = MemoryStore(lambda row: row.value == 2.0)
    async with open_worker_harness(store) as worker:
        # The whole and metric a are refused, metric b is written; then comes the outage.
        store.fail_inserts(None, None, None, *[UNAVAILABLE] * RETRY.attempts)
        failed = await worker.write(BLOCK)
        assert worker.hold.is_active
    assert values(failed) == [0, 2, 4, 6]
    assert classes(failed) == {ErrorClass.STORE_UNAVAILABLE}
    assert values_in_table(store) == [1, 3, 5, 7]


@BOTH_POLICIES
async def test_outage_of_one_month_does_not_stop_other_months(on_unavailable: OnUnavailable) -> None:
    async with open_worker_harness(on_unavailable=on_unavailable) as worker:
        worker.store.outcome_of = lambda block: UNAVAILABLE if block.month == 202501 else None
        old = Block.from_rows(202501, BLOCK.rows())
        waiting = asyncio.create_task(worker.write(old))
        await until(lambda: worker.hold.is_active)
        if on_unavailable is OnUnavailable.DEAD_LETTER:
            assert classes(await waiting) == {ErrorClass.STORE_UNAVAILABLE}
            waiting = asyncio.create_task(worker.write(old))
        for number in range(1, 20):
            assert await worker.write(block_of(many_events(number), ["c"])) == []
            await asyncio.sleep(0)
        assert not waiting.done(), "blocks after the first are kept"
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_worker_that_starts_in_an_outage_dead_letters_nothing() -> None:
    async with open_worker_harness(starts_open=True) as worker:
        worker.store.fail_inserts(*[UNAVAILABLE] * 50)
        for number in (1, 2, 3, 4):
            assert await worker.write(block_of(many_events(number), ["a"])) == []
        assert not worker.hold.is_active
        worker.store.down = UNAVAILABLE
        assert len(await worker.write(block_of(many_events(2), ["c"]))) == 2, "the store was available meanwhile"


async def test_insert_dropped_by_a_revoke_is_counted_and_no_longer_unanswered() -> None:
    async with open_worker_harness() as worker:
        worker.store.fail_inserts(UNAVAILABLE)

        def cancel_the_second() -> None:
            if len(worker.store.inserts) == 2:
                assert len(worker.telemetry.unanswered) == 1
                raise asyncio.CancelledError

        worker.store.watch = cancel_the_second
        with pytest.raises(asyncio.CancelledError):
            await worker.write(BLOCK)
        assert worker.counted("insert_retries", outcome="dropped", code="") == 1
        assert len(worker.telemetry.unanswered) == len(worker.telemetry.in_flight) == 0


async def test_insert_that_is_split_is_no_longer_unanswered() -> None:
    async with open_worker_harness(MemoryStore(fails=lambda row: row.value == 3)) as worker:
        unanswered: list[int] = []
        worker.store.watch = lambda: unanswered.append(len(worker.telemetry.unanswered))
        assert values(await worker.write(BLOCK)) == [3]
        assert max(unanswered) == 1


# Refused


@pytest.mark.parametrize("names_constraint", [False, True])
@pytest.mark.parametrize("invalid", [{0}, {7}, {3, 4}, {1, 3, 5, 7}, set(range(8))])
async def test_refusal_fails_the_invalid_rows_and_no_other(invalid: set[int], names_constraint: bool) -> None:
    store = MemoryStore(lambda row: row.value in invalid, names_constraint=names_constraint)
    async with open_worker_harness(store) as worker:
        failed = await worker.write(BLOCK)
        assert not worker.hold.is_active
    assert values(failed) == sorted(invalid)
    expected = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "constraint is violated", 469)
    assert {item.failure for item in failed} == {expected}
    assert values_in_table(store) == sorted(set(range(8)) - invalid)


async def test_refusals_in_an_outage_do_not_close_the_breaker() -> None:
    """Every block has an invalid row, which ClickHouse refuses before it fails to write the others to a full disk."""

    def is_invalid(row: Row) -> bool:
        return row.value == 3

    async with open_worker_harness(MemoryStore(is_invalid, names_constraint=True)) as worker:
        worker.store.outcome_of = lambda block: None if any(map(is_invalid, block.rows())) else UNAVAILABLE
        assert len(await worker.write(BLOCK)) == 8
        later = [asyncio.create_task(worker.write(block_of(many_events(4), [name]))) for name in "cdef"]
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert worker.hold.is_active
        assert not any(task.done() for task in later), "they are kept"
        for task in later:
            task.cancel()
        await asyncio.wait(later)


@given(
    st.sets(st.integers(0, 7)),
    st.lists(st.sampled_from([None, UNAVAILABLE, MISCONFIGURED]), max_size=12),
    st.booleans(),
    st.sampled_from(OnUnavailable),
)
@example({0}, [None, *[UNAVAILABLE] * 3], True, OnUnavailable.DEAD_LETTER)
@example(set(), [UNCLASSIFIED, UNAVAILABLE] * 3, False, OnUnavailable.DEAD_LETTER)
async def test_attempts_are_the_inserts_that_held_the_row_whatever_the_outcomes(
    invalid: set[int], script: list[Outcome | None], names_constraint: bool, on_unavailable: OnUnavailable
) -> None:
    held: Counter[tuple[object, str]] = Counter()
    store = MemoryStore(lambda row: row.value in invalid, names_constraint=names_constraint)
    store.outcome_of = lambda block: held.update((row.event.execution_id, row.metric) for row in block.rows())
    async with open_worker_harness(store, on_unavailable) as worker:
        store.fail_inserts(*script)
        failed = await worker.write(BLOCK)
    assert all(item.attempts == held[item.event.execution_id, item.metric] for item in failed)


async def test_rows_that_are_refused_together_are_counted_as_not_isolated() -> None:
    store = MemoryStore(lambda row: row.metric == "b")
    async with open_worker_harness(store) as worker:
        failed = await worker.write(block_of(many_events(600), ["a", "b"]))
        together = [item for item in failed if not item.failure.isolated]
        assert len(failed) == 600
        assert worker.counted("rows_not_isolated") == len(together) > 0


# Unclassified


@BOTH_POLICIES
@pytest.mark.parametrize("invalid", [{0}, {0, 1}, {2, 17}, {39}, set(range(10))])
async def test_rows_that_fail_while_others_are_written_are_refused(
    invalid: set[int], on_unavailable: OnUnavailable
) -> None:
    store = MemoryStore(fails=lambda row: row.value in invalid)
    async with open_worker_harness(store, on_unavailable) as worker:
        failed = await worker.write(block_of(many_events(20), ["a", "b"]))
        assert not worker.hold.is_active
    assert values(failed) == sorted(invalid)
    assert {item.failure for item in failed} == {Failure(ErrorClass.ROW_REFUSED, "CODE_4711", "something new", 4711)}
    assert values_in_table(store) == sorted(set(range(40)) - invalid)


@BOTH_POLICIES
@pytest.mark.parametrize("events", [1, 2, 1_000])
async def test_unclassified_failure_of_every_insert_is_an_outage(events: int, on_unavailable: OnUnavailable) -> None:
    async with open_worker_harness(on_unavailable=on_unavailable) as worker:
        worker.store.broken = UNCLASSIFIED
        writing = asyncio.create_task(worker.write(block_of(many_events(events), ["a", "b"])))
        await until(lambda: worker.hold.is_active)
        assert worker.hold.reasons == {Cause.STORE: "CODE_4711: something new"}
        assert len(worker.store.inserts) <= 6 * 50, "each of few pieces is retried"
        worker.clock.watch = lambda: setattr(worker.store, "broken", None)
        assert await writing == []
        assert len(worker.store.acknowledged) == 2 * events
        assert not worker.hold.is_active


@pytest.mark.parametrize("failures", [*range(1, 40, 2), 500])
async def test_unclassified_failures_that_end_fail_no_row(failures: int) -> None:
    async with open_worker_harness(on_unavailable=OnUnavailable.HOLD) as worker:
        worker.store.fail_inserts(*[UNCLASSIFIED] * failures)
        assert await worker.write(BLOCK) == []
        assert values_in_table(worker.store) == list(range(8))


async def test_outage_between_unclassified_failures_has_a_retry_budget_of_its_own() -> None:
    store = MemoryStore(fails=lambda row: row.value == 20)
    async with open_worker_harness(store, retry=RetryPolicy(attempts=8)) as worker:
        store.watch = lambda: setattr(store, "down", UNAVAILABLE if 12 <= len(store.inserts) < 18 else None)
        failed = await worker.write(block_of(many_events(100), ["a"]))
        assert not worker.hold.is_active
    assert values(failed) == [20]
    assert classes(failed) == {ErrorClass.ROW_REFUSED}


@pytest.mark.parametrize("rows", [2, 10, 1_000])
async def test_store_that_fails_half_of_all_inserts_refuses_fewer_than_one_row_in_a_hundred_thousand(rows: int) -> None:
    """With the policy of production, and blocks as small as a quiet topic makes them."""
    random = Random(20261128)
    block = block_of(many_events(rows // 2), ["a", "b"])
    blocks = 200_000 // rows if rows > 2 else 20_000
    failed: list[FailedMetric] = []
    async with open_worker_harness(retry=RetryPolicy()) as worker:
        worker.store.outcome_of = lambda _: UNCLASSIFIED if random.random() < 0.5 else WRITTEN
        for _ in range(blocks):
            failed += await worker.write(block)
    refused = [item for item in failed if item.failure.error_class is ErrorClass.ROW_REFUSED]
    assert len(refused) * 100_000 < blocks * rows


# Too large


@BOTH_POLICIES
async def test_block_that_is_too_large_is_halved_until_it_fits(on_unavailable: OnUnavailable) -> None:
    block = block_of(many_events(4_000), ["a", "b"])
    async with open_worker_harness(on_unavailable=on_unavailable) as worker:
        worker.store.outcome_of = lambda block: TOO_LARGE if len(block) > 2_500 else None
        with capture_logs() as logs:
            assert await worker.write(block) == []
        assert worker.store.inserts == [8_000, 4_000, 4_000, 2_000, 2_000, 2_000, 2_000]
        assert Counter(worker.store.acknowledged) == Counter(stored_rows(block))
        assert "holding" not in [entry["event"] for entry in logs]
        assert worker.counted("splits", reason="too_large") == 3


async def test_small_block_of_several_months_that_is_too_large_is_halved_at_once() -> None:
    """Its months may be too many for a view, although its rows are few."""
    parts = [block_of(many_events(3), ["m"])]
    later = [item._replace(completed_at=item.completed_at + 40 * DAY) for item in many_events(3)]
    block = Block.concatenate(SEVERAL_MONTHS, [*parts, block_of(later, ["m"])])
    async with open_worker_harness() as worker:
        worker.store.outcome_of = lambda block: TOO_LARGE if block.has_several_months else None
        assert await worker.write(block) == []
        assert worker.store.inserts == [6, 3, 3]


@BOTH_POLICIES
async def test_single_row_that_is_too_large_is_refused_and_others_are_written(on_unavailable: OnUnavailable) -> None:
    """A view that makes very many rows of one: the others must not wait for it."""
    async with open_worker_harness(on_unavailable=on_unavailable) as worker:
        worker.store.outcome_of = lambda block: TOO_LARGE if 700.0 in block.values else None
        failed = await worker.write(block_of(many_events(900), ["a"]))
        assert values(failed) == [700]
        assert classes(failed) == {ErrorClass.ROW_REFUSED}


# Any sequence of outcomes

ANY_STEPS = st.lists(
    st.sampled_from(["pass", "lost", UNAVAILABLE, MISCONFIGURED, UNCLASSIFIED, TOO_LARGE]),
    max_size=15,
)


@given(
    strategies.row_lists().filter(lambda lists: bool(lists[0])),
    st.sets(st.sampled_from(["a", "b", "ab"])),
    st.sets(st.sampled_from([0.0, 1.0])),
    ANY_STEPS,
    st.booleans(),
    st.sampled_from(OnUnavailable),
)
async def test_each_row_is_acknowledged_or_failed_whatever_the_outcomes(
    lists: list[list[Row]],
    bad_metrics: set[str],
    bad_values: set[float],
    steps: list[str | Outcome],
    names_constraint: bool,
    on_unavailable: OnUnavailable,
) -> None:
    block = Block.from_rows(202601, lists[0])
    store = MemoryStore(
        lambda row: row.metric in bad_metrics and row.value in bad_values, names_constraint=names_constraint
    )
    async with open_worker_harness(store, on_unavailable) as worker:
        store.follow(steps)
        failed = await worker.write(block)
    returned = stored_rows(block_of_failed(failed))
    assert Counter(store.acknowledged) + Counter(returned) == Counter(stored_rows(block))
    for item in failed:
        if item.failure.code == REFUSED.code or on_unavailable is OnUnavailable.HOLD:
            assert item.metric in bad_metrics
            assert item.value in bad_values


@given(ANY_STEPS, st.sampled_from(OnUnavailable))
async def test_blocks_written_at_once_do_not_mix_their_rows(
    steps: list[str | Outcome], on_unavailable: OnUnavailable
) -> None:
    events = many_events(9)
    blocks = [block_of(events[start : start + 3], ["a", "b"]) for start in (0, 3, 6)]
    store = MemoryStore(lambda row: row.metric == "b" and row.value == 3)
    async with open_worker_harness(store, on_unavailable) as worker:
        store.follow(steps)
        failed = await asyncio.gather(*(worker.write(block) for block in blocks))
        await until(lambda: not worker.hold.is_active)  # the probe ends it
    for block, items in zip(blocks, failed, strict=True):
        expected = Counter(stored_rows(block))
        acknowledged = Counter(row for row in store.acknowledged if row in expected)
        assert acknowledged + Counter(stored_rows(block_of_failed(items))) == expected
