"""The writer: every row of a block is acknowledged or comes back as failed, and only invalid rows are refused."""

import asyncio
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support import strategies
from tests.support.clock import Clock, until
from tests.support.events import block_of, many_events, rows_of
from tests.support.fakes import (
    MISCONFIGURED,
    REFUSED,
    TOO_LARGE,
    UNAVAILABLE,
    UNCLASSIFIED,
    MemoryStore,
    stored_rows,
)
from tests.support.worker_harness import PACE, RETRY, rig
from worker.core.errors import ErrorClass
from worker.core.hold import Cause, Hold
from worker.core.model import FailedMetric, Failure, Row
from worker.core.outcome import Outcome, OutcomeKind
from worker.core.retry import RetryPolicy
from worker.events.block import Block
from worker.writing.writer import OnUnavailable, Writer

BLOCK = block_of(many_events(4), ["a", "b"])
"""Eight rows, values 0 to 7; those of metric b are odd."""
BOTH = pytest.mark.parametrize("on_unavailable", OnUnavailable)


class CountingStore(MemoryStore):
    """Counts how many inserts held each row."""

    def __init__(self, *args: object, **options: bool) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.held: Counter[tuple[object, str]] = Counter()

    async def insert(self, block: Block) -> Outcome:
        self.held.update((row.event.execution_id, row.metric) for row in block.rows())
        return await super().insert(block)


def values(failed: list[FailedMetric]) -> list[float]:
    return sorted(item.value for item in failed if not isinstance(item.value, tuple))


def classes(failed: list[FailedMetric]) -> set[ErrorClass]:
    return {item.failure.error_class for item in failed}


def in_table(store: MemoryStore) -> list[float]:
    return sorted(row.metric_value for row in store.table)


class TestWhenAllIsWell:
    async def test_a_block_is_one_insert(self) -> None:
        async with rig() as worker:
            assert await worker.writer.write(BLOCK) == []
            assert worker.store.inserts == [8]
            assert worker.store.table == stored_rows(BLOCK)

    async def test_a_block_that_is_written_again_changes_nothing(self) -> None:
        async with rig() as worker:
            for _ in range(3):
                await worker.writer.write(block_of(many_events(4), ["a", "b"]))
            assert worker.store.table == stored_rows(BLOCK)


class TestAnOutage:
    async def test_within_the_budget_is_only_retried(self) -> None:
        async with rig() as worker:
            worker.store.fail_inserts(UNAVAILABLE, UNAVAILABLE)
            assert await worker.writer.write(BLOCK) == []
            assert worker.store.inserts == [8, 8, 8]
            assert worker.store.table == stored_rows(BLOCK)
            assert not worker.hold.active
            assert len(worker.clock.slept) == 2

    async def test_beyond_the_budget_dead_letters_every_row_and_holds(self) -> None:
        async with rig() as worker:
            worker.store.down = UNAVAILABLE
            failed = await worker.writer.write(BLOCK)
            assert [Row(item.event, item.metric, item.value) for item in failed if isinstance(item.value, float)] == (
                rows_of(BLOCK)
            )
            expected = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "connection refused", 210)
            assert {item.failure for item in failed} == {expected}
            assert {item.attempts for item in failed} == {RETRY.attempts}
            assert worker.store.inserts == [8] * RETRY.attempts, "never cut"
            assert worker.hold.reasons == {Cause.STORE: "NETWORK_ERROR: connection refused"}

    async def test_beyond_the_budget_keeps_every_row_where_the_policy_is_to_hold(self) -> None:
        async with rig(on_unavailable=OnUnavailable.HOLD) as worker:
            worker.store.fail_inserts(*[UNAVAILABLE] * (RETRY.attempts + 5))
            assert await worker.writer.write(BLOCK) == []
            assert worker.store.table == stored_rows(BLOCK)
            assert worker.store.inserts == [8] * (RETRY.attempts + 6), "one attempt at a time, never cut"
            assert not worker.hold.active

    @BOTH
    async def test_that_has_begun_before_a_block_dead_letters_none_of_it(self, on_unavailable: OnUnavailable) -> None:
        async with rig(on_unavailable=on_unavailable) as worker:
            worker.store.fail_inserts(*[UNAVAILABLE] * 30)
            first = asyncio.create_task(worker.writer.write(BLOCK))
            await until(lambda: worker.hold.active)
            later = [asyncio.create_task(worker.writer.write(block_of(many_events(n), ["c"]))) for n in (1, 2)]
            assert await asyncio.gather(*later) == [[], []]
            assert len(await first) == (8 if on_unavailable is OnUnavailable.DEAD_LETTER else 0)
            assert not worker.hold.active

    async def test_ends_with_the_time_of_the_budget(self, monkeypatch: pytest.MonkeyPatch) -> None:
        policy = RetryPolicy(attempts=1_000, max_seconds=100.0, first_wait_seconds=0.1, max_wait_seconds=1.0)

        class SlowStore(MemoryStore):
            async def insert(self, block: Block) -> Outcome:
                worker.clock.advance(30.0)
                return await super().insert(block)

        async with rig(SlowStore(), retry=policy) as worker:
            monkeypatch.setattr("worker.writing.writer.monotonic", worker.clock.monotonic)
            worker.store.down = UNAVAILABLE
            assert len(await worker.writer.write(BLOCK)) == 8
            assert len(worker.store.inserts) == 4, "begun after 0, 30, 60 and 90 seconds"

    @pytest.mark.parametrize("answers_lost", [1, 2])
    async def test_that_loses_the_answer_makes_no_duplicate(self, answers_lost: int) -> None:
        async with rig() as worker:
            worker.store.lose_answers(answers_lost)
            assert await worker.writer.write(BLOCK) == []
            assert len(worker.store.inserts) == 1 + answers_lost
            assert worker.store.table == stored_rows(BLOCK)

    async def test_that_loses_every_answer_makes_no_duplicate_when_dead_letters_are_replayed(self) -> None:
        async with rig() as worker:
            worker.store.lose_answers(RETRY.attempts)
            failed = await worker.writer.write(BLOCK)
            assert len(failed) == 8
            visible = worker.store.deduplicated()
            again = Block.from_rows(
                BLOCK.month, (Row(item.event, item.metric, float(str(item.value))) for item in failed[3:6])
            )
            assert await worker.writer.write(again) == []
            assert worker.store.deduplicated() == visible

    async def test_in_the_middle_of_a_bisection_keeps_what_is_known(self) -> None:
        store = MemoryStore(lambda row: row.value == 2.0)
        async with rig(store) as worker:
            # The whole and metric a are refused, metric b is written; then the store is gone.
            store.fail_inserts(None, None, None, *[UNAVAILABLE] * RETRY.attempts)
            failed = await worker.writer.write(BLOCK)
            assert worker.hold.active
        assert values(failed) == [0, 2, 4, 6]
        assert classes(failed) == {ErrorClass.STORE_UNAVAILABLE}
        assert in_table(store) == [1, 3, 5, 7]

    @BOTH
    async def test_of_one_month_only_lets_other_months_flow(self, on_unavailable: OnUnavailable) -> None:
        class Partial(MemoryStore):
            async def insert(self, block: Block) -> Outcome:
                return UNAVAILABLE if block.month == 202501 else await super().insert(block)

        async with rig(Partial(), on_unavailable) as worker:
            old = Block.from_rows(202501, BLOCK.rows())
            waiting = asyncio.create_task(worker.writer.write(old))
            await until(lambda: worker.hold.active)
            if on_unavailable is OnUnavailable.DEAD_LETTER:
                assert classes(await waiting) == {ErrorClass.STORE_UNAVAILABLE}
                waiting = asyncio.create_task(worker.writer.write(old))
            for number in range(1, 20):
                assert await worker.writer.write(block_of(many_events(number), ["c"])) == []
                await asyncio.sleep(0)
            assert not waiting.done(), "what comes after the first is kept"
            waiting.cancel()
            await asyncio.wait([waiting])

    async def test_that_meets_the_first_block_of_a_worker_makes_no_dead_letter(self) -> None:
        store, hold = MemoryStore(), Hold()
        writer = Writer(store, hold, RETRY, backoff=PACE, sleep=Clock().sleep, starts_open=True)
        store.fail_inserts(*[UNAVAILABLE] * 50)
        for number in (1, 2, 3, 4):
            assert await writer.write(block_of(many_events(number), ["a"])) == []
        assert not hold.active
        store.down = UNAVAILABLE
        assert len(await writer.write(block_of(many_events(2), ["c"]))) == 2, "it has been available since"
        await writer.close()


class TestUnansweredInserts:
    @pytest.mark.parametrize("outcome", [UNAVAILABLE, UNCLASSIFIED], ids=lambda outcome: outcome.kind)
    async def test_rows_without_an_answer_are_shown_until_they_are_written(self, outcome: Outcome) -> None:
        shown: list[str] = []
        async with rig() as worker:
            worker.store.fail_inserts(outcome)
            worker.clock.watch = lambda: shown.append(worker.telemetry.unanswered.oldest()[1])
            assert await worker.writer.write(BLOCK) == []
            assert shown == [str(outcome)]
            assert len(worker.telemetry.unanswered) == len(worker.telemetry.in_flight) == 0

    async def test_insert_dropped_by_a_revoke_is_counted_and_not_shown_any_more(self) -> None:
        async with rig() as worker:
            worker.store.fail_inserts(UNAVAILABLE)
            writing = asyncio.create_task(worker.writer.write(BLOCK))

            def cancel_second() -> None:
                if len(worker.store.inserts) == 2:
                    assert len(worker.telemetry.unanswered) == 1
                    raise asyncio.CancelledError

            worker.store.watch = cancel_second
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert worker.counted("insert_retries", outcome="dropped", code="") == 1
            assert len(worker.telemetry.unanswered) == len(worker.telemetry.in_flight) == 0


class TestAMisconfiguration:
    @BOTH
    async def test_waits_and_loses_nothing(self, on_unavailable: OnUnavailable) -> None:
        async with rig(on_unavailable=on_unavailable) as worker:
            worker.store.fail_inserts(*[MISCONFIGURED] * 10)
            assert await worker.writer.write(BLOCK) == []
            assert worker.store.inserts == [8] * 11
            assert worker.store.table == stored_rows(BLOCK)

    @BOTH
    async def test_holds_at_once_with_its_reason(self, on_unavailable: OnUnavailable) -> None:
        async with rig(on_unavailable=on_unavailable) as worker:
            seen: list[dict[Cause, str]] = []
            worker.clock.watch = lambda: seen.append(dict(worker.hold.reasons))
            worker.store.fail_inserts(MISCONFIGURED)
            await worker.writer.write(BLOCK)
            assert seen[0] == {Cause.STORE: "UNKNOWN_TABLE: table does not exist"}
            assert not worker.hold.active

    @BOTH
    async def test_in_the_middle_of_a_bisection_loses_nothing(self, on_unavailable: OnUnavailable) -> None:
        store = MemoryStore(lambda row: row.value == 3)
        async with rig(store, on_unavailable) as worker:
            store.fail_inserts(None, MISCONFIGURED, MISCONFIGURED, None, MISCONFIGURED)
            failed = await worker.writer.write(BLOCK)
        assert values(failed) == [3]
        assert in_table(store) == [0, 1, 2, 4, 5, 6, 7]


class TestARefusal:
    @pytest.mark.parametrize("names_constraint", [False, True])
    @pytest.mark.parametrize("invalid", [{0}, {7}, {3, 4}, {1, 3, 5, 7}, set(range(8))])
    async def test_fails_the_invalid_rows_and_no_other(self, invalid: set[int], names_constraint: bool) -> None:
        store = MemoryStore(lambda row: row.value in invalid, names_constraint=names_constraint)
        async with rig(store) as worker:
            failed = await worker.writer.write(BLOCK)
            assert not worker.hold.active
        assert values(failed) == sorted(invalid)
        expected = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "constraint is violated", 469)
        assert {item.failure for item in failed} == {expected}
        assert in_table(store) == sorted(set(range(8)) - invalid)

    async def test_for_a_constraint_takes_two_inserts_and_a_question(self) -> None:
        store = MemoryStore(lambda row: row.value % 100 == 7, names_constraint=True)
        async with rig(store) as worker:
            failed = await worker.writer.write(block_of(many_events(1_000), ["a", "b"]))
        assert len(failed) == 20
        assert store.inserts == [2_000, 1_980]
        assert store.asked == [2_000]

    async def test_between_outages_is_still_found(self) -> None:
        store = MemoryStore(lambda row: row.value == 5)
        async with rig(store) as worker:
            store.fail_inserts(*[UNAVAILABLE, UNAVAILABLE, None] * 10)
            failed = await worker.writer.write(BLOCK)
        assert values(failed) == [5]
        assert classes(failed) == {ErrorClass.ROW_REFUSED}
        assert in_table(store) == [0, 1, 2, 3, 4, 6, 7]

    async def test_in_an_outage_does_not_make_the_store_look_available(self) -> None:
        """Every block has an invalid row, which ClickHouse refuses before it fails to write the others."""

        class Full(MemoryStore):
            async def insert(self, block: Block) -> Outcome:
                outcome = await super().insert(block)
                return outcome if outcome.kind is OutcomeKind.REFUSED else UNAVAILABLE

        async with rig(Full(lambda row: row.value == 3, names_constraint=True)) as worker:
            lettered = await worker.writer.write(BLOCK)
            assert len(lettered) == 8
            later = [asyncio.create_task(worker.writer.write(block_of(many_events(4), [name]))) for name in "cdef"]
            for _ in range(1_000):
                await asyncio.sleep(0)
            assert worker.hold.active
            assert not any(task.done() for task in later), "they are kept"
            for task in later:
                task.cancel()
            await asyncio.wait(later)

    async def test_counts_the_inserts_that_held_the_row(self) -> None:
        store = MemoryStore(lambda row: row.value == 5)
        async with rig(store) as worker:
            store.fail_inserts(UNAVAILABLE, None, None, UNAVAILABLE)
            (failed,) = await worker.writer.write(BLOCK)
        assert store.inserts == [8, 8, 4, 4, 4, 2, 2, 1, 1]
        # The whole twice, metric b twice (1, 3, 5, 7), its second half (5, 7), and alone.
        assert failed.attempts == 6

    @given(
        st.sets(st.integers(0, 7)),
        st.lists(st.sampled_from([None, UNAVAILABLE, MISCONFIGURED]), max_size=12),
        st.booleans(),
        st.sampled_from(OnUnavailable),
    )
    async def test_counts_them_right_whatever_happens(
        self, invalid: set[int], script: list[Outcome | None], names_constraint: bool, on_unavailable: OnUnavailable
    ) -> None:
        store = CountingStore(lambda row: row.value in invalid, names_constraint=names_constraint)
        async with rig(store, on_unavailable) as worker:
            store.fail_inserts(*script)
            failed = await worker.writer.write(BLOCK)
        for item in failed:
            assert item.attempts == store.held[item.event.execution_id, item.metric]

    async def test_of_too_many_rows_is_counted_as_not_isolated(self) -> None:
        store = MemoryStore(lambda row: row.metric == "b")
        async with rig(store) as worker:
            failed = await worker.writer.write(block_of(many_events(600), ["a", "b"]))
            together = [item for item in failed if not item.failure.isolated]
            assert len(failed) == 600
            assert worker.counted("rows_not_isolated") == len(together) > 0


class TestAnUnclassifiedCode:
    @BOTH
    @pytest.mark.parametrize("invalid", [{0}, {1}, {0, 1}, {2, 17}, {39}, set(range(10))])
    async def test_refuses_rows_that_fail_while_others_are_written(
        self, invalid: set[int], on_unavailable: OnUnavailable
    ) -> None:
        store = MemoryStore(fails=lambda row: row.value in invalid)
        async with rig(store, on_unavailable) as worker:
            failed = await worker.writer.write(block_of(many_events(20), ["a", "b"]))
            assert not worker.hold.active
        assert values(failed) == sorted(invalid)
        assert {item.failure for item in failed} == {
            Failure(ErrorClass.ROW_REFUSED, "CODE_4711", "something new", 4711)
        }
        assert in_table(store) == sorted(set(range(40)) - invalid)

    @pytest.mark.parametrize("metric", ["metric_0", "metric_5", "metric_9"])
    async def test_of_one_metric_never_fails_the_others(self, metric: str) -> None:
        store = MemoryStore(fails=lambda row: row.metric == metric)
        async with rig(store) as worker:
            failed = await worker.writer.write(block_of(many_events(200), [f"metric_{number}" for number in range(10)]))
            assert not worker.hold.active
        assert {item.metric for item in failed} == {metric}
        assert len(failed) == 200
        assert classes(failed) == {ErrorClass.ROW_REFUSED}
        assert len(store.table) == 1_800

    @BOTH
    async def test_that_begins_after_some_rows_were_written_refuses_no_valid_row(
        self, on_unavailable: OnUnavailable
    ) -> None:
        store = MemoryStore(lambda row: row.metric == "metric_0" and row.value < 30)
        block = block_of(many_events(20), [f"metric_{number}" for number in range(10)])
        async with rig(store, on_unavailable) as worker:
            store.watch = lambda: setattr(store, "broken", UNCLASSIFIED if 20 < len(store.inserts) < 400 else None)
            failed = await worker.writer.write(block)
            assert not worker.hold.active
        assert {item.metric for item in failed} == {"metric_0"}
        assert len(failed) + len(store.acknowledged) == 200

    @BOTH
    @pytest.mark.parametrize("events", [1, 2, 1_000])
    async def test_is_an_outage_where_nothing_is_written(self, events: int, on_unavailable: OnUnavailable) -> None:
        async with rig(on_unavailable=on_unavailable) as worker:
            worker.store.broken = UNCLASSIFIED
            writing = asyncio.create_task(worker.writer.write(block_of(many_events(events), ["a", "b"])))
            await until(lambda: worker.hold.active)
            assert worker.hold.reasons == {Cause.STORE: "CODE_4711: something new"}
            assert len(worker.store.inserts) <= 5 * 60
            worker.clock.watch = lambda: setattr(worker.store, "broken", None)
            assert await writing == []
            assert len(worker.store.acknowledged) == 2 * events
            assert not worker.hold.active

    async def test_within_the_budget_is_only_retried(self) -> None:
        async with rig() as worker:
            worker.store.fail_inserts(*[UNCLASSIFIED] * 5)
            assert await worker.writer.write(BLOCK) == []
            assert worker.store.inserts == [8] * 6

    async def test_followed_by_an_outage_loses_no_row(self) -> None:
        async with rig() as worker:
            worker.store.fail_inserts(*[UNCLASSIFIED] * (RETRY.attempts + 3), *[UNAVAILABLE] * 4)
            failed = await worker.writer.write(BLOCK)
            assert len(failed) + len(worker.store.acknowledged) == 8
            assert classes(failed) == {ErrorClass.STORE_UNAVAILABLE}

    async def test_is_waited_for_where_the_policy_is_to_hold(self) -> None:
        async with rig(on_unavailable=OnUnavailable.HOLD) as worker:
            worker.store.fail_inserts(*[UNCLASSIFIED] * 500)
            assert await worker.writer.write(BLOCK) == []
            assert in_table(worker.store) == list(range(8))

    @pytest.mark.parametrize("times", range(1, 40))
    async def test_that_goes_away_again_fails_no_row(self, times: int) -> None:
        async with rig(on_unavailable=OnUnavailable.HOLD) as worker:
            worker.store.fail_inserts(*[UNCLASSIFIED] * times)
            assert await worker.writer.write(BLOCK) == []
            assert in_table(worker.store) == list(range(8))

    @BOTH
    async def test_of_a_lone_row_waits_for_other_blocks_and_is_refused_then(
        self, on_unavailable: OnUnavailable
    ) -> None:
        store = MemoryStore(fails=lambda row: row.metric == "poison")
        async with rig(store, on_unavailable) as worker:
            lone = asyncio.create_task(worker.writer.write(block_of(many_events(1), ["poison"])))
            await until(lambda: worker.hold.active)
            for number in range(1, 30):
                assert await worker.writer.write(block_of(many_events(number), ["a"])) == []
                await asyncio.sleep(0)
            assert classes(await lone) == {ErrorClass.ROW_REFUSED}
            assert not worker.hold.active

    async def test_in_the_middle_of_which_the_connection_breaks_has_a_whole_budget_for_that(self) -> None:
        store = MemoryStore(fails=lambda row: row.value == 20)
        async with rig(store, retry=RetryPolicy(attempts=8)) as worker:
            store.watch = lambda: setattr(store, "down", UNAVAILABLE if 12 <= len(store.inserts) < 18 else None)
            failed = await worker.writer.write(block_of(many_events(100), ["a"]))
            assert not worker.hold.active
        assert values(failed) == [20]
        assert classes(failed) == {ErrorClass.ROW_REFUSED}

    @pytest.mark.parametrize("rows", [2, 10, 1_000])
    async def test_on_half_of_all_inserts_refuses_fewer_than_one_row_in_a_hundred_thousand(self, rows: int) -> None:
        """The policy of production, and blocks as small as a quiet topic makes them."""
        random = Random(20261128)

        class Flaky(MemoryStore):
            async def insert(self, block: Block) -> Outcome:
                if random.random() < 0.5:
                    return UNCLASSIFIED
                self.acknowledged += block.rows()  # type: ignore[arg-type]  # only counted
                return Outcome(REFUSED.kind.WRITTEN)

        events = many_events(rows // 2)
        block = block_of(events, ["a", "b"])
        blocks = 200_000 // rows if rows > 2 else 20_000
        failed: list[FailedMetric] = []
        async with rig(Flaky(), retry=RetryPolicy()) as worker:
            for _ in range(blocks):
                failed += await worker.writer.write(block)
            assert len(failed) + len(worker.store.acknowledged) == blocks * rows
        refused = [item for item in failed if item.failure.error_class is ErrorClass.ROW_REFUSED]
        assert len(refused) * 100_000 < blocks * rows


class TestRowsThatAreTooLarge:
    class Small(MemoryStore):
        """Fails for inserts of more than `most` rows."""

        def __init__(self, most: int) -> None:
            super().__init__()
            self.most = most

        async def insert(self, block: Block) -> Outcome:
            if len(block) > self.most:
                self.inserts.append(len(block))
                return TOO_LARGE
            return await super().insert(block)

    @BOTH
    async def test_are_cut_in_halves_until_they_fit(self, on_unavailable: OnUnavailable) -> None:
        block = block_of(many_events(4_000), ["a", "b"])
        async with rig(self.Small(2_500), on_unavailable) as worker:
            with capture_logs() as logs:
                assert await worker.writer.write(block) == []
            assert worker.store.inserts == [8_000, 4_000, 4_000, 2_000, 2_000, 2_000, 2_000]
            assert Counter(worker.store.acknowledged) == Counter(stored_rows(block))
            assert "holding" not in [entry["event"] for entry in logs]
            assert worker.counted("splits", reason="too_large") == 3

    @BOTH
    async def test_of_a_small_block_may_be_one_row(self, on_unavailable: OnUnavailable) -> None:
        """A view that makes a thousand rows of one: the others must not wait for it."""

        class Explodes(MemoryStore):
            async def insert(self, block: Block) -> Outcome:
                if any(row.value == 700 for row in block.rows()):
                    return TOO_LARGE
                return await super().insert(block)

        async with rig(Explodes(), on_unavailable) as worker:
            failed = await worker.writer.write(block_of(many_events(900), ["a"]))
            assert values(failed) == [700]
            assert classes(failed) == {ErrorClass.ROW_REFUSED}

    async def test_however_few_they_are_wait_until_the_store_has_memory_again(self) -> None:
        async with rig(self.Small(0)) as worker:
            writing = asyncio.create_task(worker.writer.write(block_of(many_events(4_000), ["a"])))
            await until(lambda: worker.hold.active)
            worker.store.most = 10_000  # type: ignore[attr-defined]  # of Small
            assert await writing == []


SCRIPT = st.lists(
    st.sampled_from(["pass", "lost", UNAVAILABLE, MISCONFIGURED, UNCLASSIFIED, TOO_LARGE]),
    max_size=15,
)


def follow(store: MemoryStore, script: list[str | Outcome]) -> None:
    for step in script:
        if step == "lost":
            store.lose_answers(1)
        else:
            store.fail_inserts(step if isinstance(step, Outcome) else None)


class TestWhateverHappens:
    @given(
        strategies.row_lists(),
        st.sets(st.sampled_from(["a", "b", "ab"])),
        st.sets(st.sampled_from([0.0, 1.0])),
        SCRIPT,
        st.booleans(),
        st.sampled_from(OnUnavailable),
    )
    async def test_each_row_is_acknowledged_or_failed(
        self,
        lists: list[list[Row]],
        bad_metrics: set[str],
        bad_values: set[float],
        script: list[str | Outcome],
        names_constraint: bool,
        on_unavailable: OnUnavailable,
    ) -> None:
        block = Block.from_rows(202601, lists[0])
        store = MemoryStore(
            lambda row: row.metric in bad_metrics and row.value in bad_values, names_constraint=names_constraint
        )
        async with rig(store, on_unavailable) as worker:
            follow(store, script)
            failed = await worker.writer.write(block)
        returned = stored_rows(
            Block.from_rows(202601, (Row(item.event, item.metric, _number(item)) for item in failed))
        )
        assert Counter(store.acknowledged) + Counter(returned) == Counter(stored_rows(block))
        for item in failed:
            invalid = item.metric in bad_metrics and item.value in bad_values
            if item.failure.code == 469 or on_unavailable is OnUnavailable.HOLD:
                assert invalid

    @given(SCRIPT, st.sampled_from(OnUnavailable))
    async def test_blocks_that_are_written_at_once_do_not_disturb_each_other(
        self, script: list[str | Outcome], on_unavailable: OnUnavailable
    ) -> None:
        events = many_events(9)
        blocks = [block_of(events[start : start + 3], ["a", "b"]) for start in (0, 3, 6)]
        store = MemoryStore(lambda row: row.metric == "b" and row.value == 3)
        async with rig(store, on_unavailable) as worker:
            follow(store, script)
            failed = await asyncio.gather(*(worker.writer.write(block) for block in blocks))
            await until(lambda: not worker.hold.active)  # the probe ends it
        for block, items in zip(blocks, failed, strict=True):
            returned = stored_rows(
                Block.from_rows(202601, (Row(item.event, item.metric, _number(item)) for item in items))
            )
            expected = Counter(stored_rows(block))
            acknowledged = Counter(row for row in store.acknowledged if row in expected)
            assert acknowledged + Counter(returned) == expected


def _number(item: FailedMetric) -> float:
    assert not isinstance(item.value, tuple)
    return item.value
