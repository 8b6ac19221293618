"""The writer: every row of a block is acknowledged or comes back as failed, and only the guilty are refused."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support import strategies
from tests.support.events import block_of, many_events, rows_of
from tests.support.fakes import MemoryStore, misconfigured, stored_rows, unavailable, unknown
from tests.support.rig import RETRY, Rig, rig
from worker.block import Block
from worker.errors import ErrorClass
from worker.hold import Cause
from worker.model import FailedMetric, Failure, Row
from worker.retry import RetryPolicy
from worker.writing.writer import OnUnavailable

BLOCK = block_of(many_events(4), ["a", "b"])
"""Eight rows, values 0 to 7; those of metric b are odd."""
BOTH = pytest.mark.parametrize("on_unavailable", OnUnavailable)


class CountingStore(MemoryStore):
    """Counts how many inserts held each row."""

    def __init__(self, *args: object, **options: bool) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.held: Counter[tuple[object, str]] = Counter()

    async def insert(self, block: Block) -> None:
        self.held.update((row.event.execution_id, row.metric) for row in block.rows())
        await super().insert(block)


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
    async def test_that_ends_within_the_budget_is_not_noticed(self) -> None:
        async with rig() as worker:
            worker.store.fail_inserts(unavailable, unavailable)
            assert await worker.writer.write(BLOCK) == []
            assert worker.store.inserts == [8, 8, 8]
            assert worker.store.table == stored_rows(BLOCK)
            assert not worker.hold.active
            assert len(worker.clock.slept) == 2

    async def test_beyond_the_budget_dead_letters_every_row_and_holds(self) -> None:
        async with rig() as worker:
            worker.store.down = unavailable
            failed = await worker.writer.write(BLOCK)
            assert [Row(item.event, item.metric, item.value) for item in failed if isinstance(item.value, float)] == (
                rows_of(BLOCK)
            )
            expected = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "connection refused", 210)
            assert {item.failure for item in failed} == {expected}
            assert {item.attempts for item in failed} == {RETRY.attempts}
            assert len(worker.store.inserts) == RETRY.attempts
            assert worker.hold.reasons == {Cause.STORE: "NETWORK_ERROR: connection refused"}

    async def test_beyond_the_budget_keeps_every_row_where_the_policy_is_to_hold(self) -> None:
        async with rig(on_unavailable=OnUnavailable.HOLD) as worker:
            worker.store.down = unavailable
            worker.clock.watch = lambda: setattr(worker.store, "down", unavailable if worker.store.probes < 9 else None)
            assert await worker.writer.write(BLOCK) == []
            assert worker.store.table == stored_rows(BLOCK)
            assert len(worker.store.inserts) == RETRY.attempts + 1
            assert not worker.hold.active

    async def test_ends_by_the_time_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        policy = RetryPolicy(attempts=1_000, max_seconds=100.0, first_wait_seconds=0.1, max_wait_seconds=1.0)

        class SlowStore(MemoryStore):
            async def insert(self, block: Block) -> None:
                worker.clock.advance(30.0)
                await super().insert(block)

        async with rig(SlowStore(), retry=policy) as worker:
            monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=worker.clock.monotonic))
            worker.store.down = unavailable
            assert len(await worker.writer.write(BLOCK)) == 8
            assert len(worker.store.inserts) == 4, "begun after 0, 30, 60 and 90 seconds"

    @pytest.mark.parametrize("answers_lost", [1, 2])
    async def test_that_loses_the_answer_makes_no_duplicate(self, answers_lost: int) -> None:
        async with rig() as worker:
            worker.store.lose_answers(answers_lost)
            assert await worker.writer.write(BLOCK) == []
            assert len(worker.store.inserts) == 1 + answers_lost
            assert worker.store.table == stored_rows(BLOCK)

    async def test_that_loses_every_answer_makes_none_either_when_the_dead_letters_are_put_back(self) -> None:
        async with rig() as worker:
            worker.store.lose_answers(RETRY.attempts)
            worker.store.fail_probes(unavailable)
            failed = await worker.writer.write(BLOCK)
            assert len(failed) == 8
            shown = worker.store.deduplicated()
            again = Block.of(
                BLOCK.month, (Row(item.event, item.metric, float(str(item.value))) for item in failed[3:6])
            )
            assert await worker.writer.write(again) == []
            assert worker.store.deduplicated() == shown

    async def test_in_the_middle_of_a_split_keeps_what_is_known(self) -> None:
        store = MemoryStore(lambda row: row.value in {0.0, 2.0})
        async with rig(store) as worker:
            # The whole, metric a and its first half are refused; then row 0, and then the store is gone.
            store.fail_inserts(None, None, None, None, *[unavailable] * RETRY.attempts)
            store.fail_probes(unavailable)
            failed = await worker.writer.write(BLOCK)
            assert worker.hold.active
        by_class = {kind: values([item for item in failed if item.failure.error_class is kind]) for kind in ErrorClass}
        assert by_class[ErrorClass.ROW_REFUSED] == [0]
        assert by_class[ErrorClass.STORE_UNAVAILABLE] == [1, 2, 3, 4, 5, 6, 7]
        assert store.table == []


class TestAMisconfiguration:
    @BOTH
    async def test_waits_and_loses_nothing(self, on_unavailable: OnUnavailable) -> None:
        async with rig(on_unavailable=on_unavailable) as worker:
            worker.store.fail_inserts(misconfigured)
            worker.store.fail_probes(*[misconfigured] * 10)
            assert await worker.writer.write(BLOCK) == []
            assert worker.store.inserts == [8, 8], "it held at once"
            assert worker.store.probes == 11
            assert worker.store.table == stored_rows(BLOCK)

    @BOTH
    async def test_holds_with_its_reason_meanwhile(self, on_unavailable: OnUnavailable) -> None:
        async with rig(on_unavailable=on_unavailable) as worker:
            seen: list[dict[Cause, str]] = []
            worker.clock.watch = lambda: seen.append(dict(worker.hold.reasons))
            worker.store.fail_inserts(misconfigured)
            await worker.writer.write(BLOCK)
            assert seen == [{Cause.STORE: "UNKNOWN_TABLE: table does not exist"}]
            assert not worker.hold.active

    @BOTH
    async def test_in_the_middle_of_a_split_loses_nothing_either(self, on_unavailable: OnUnavailable) -> None:
        store = MemoryStore(lambda row: row.value == 3)
        async with rig(store, on_unavailable) as worker:
            store.fail_inserts(None, misconfigured, misconfigured, None, misconfigured)
            failed = await worker.writer.write(BLOCK)
        assert values(failed) == [3]
        assert in_table(store) == [0, 1, 2, 4, 5, 6, 7]


class TestARefusal:
    @pytest.mark.parametrize("names_row", [False, True])
    @pytest.mark.parametrize("guilty", [{0}, {7}, {3, 4}, {1, 3, 5, 7}, set(range(8))])
    async def test_fails_the_guilty_rows_and_no_other(self, guilty: set[int], names_row: bool) -> None:
        store = MemoryStore(lambda row: row.value in guilty, names_row=names_row)
        async with rig(store) as worker:
            failed = await worker.writer.write(BLOCK)
            assert not worker.hold.active
        assert values(failed) == sorted(guilty)
        expected = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "constraint is violated", 469)
        assert {item.failure for item in failed} == {expected}
        assert in_table(store) == sorted(set(range(8)) - guilty)

    async def test_that_names_a_wrong_row_is_found_out(self) -> None:
        class Liar(MemoryStore):
            async def insert(self, block: Block) -> None:
                if any(row.value == 6 for row in block.rows()):
                    error = unknown()
                    self.inserts.append(len(block))
                    raise type(error)(str(error), name=error.name, row=0)
                await super().insert(block)

        store = Liar()
        async with rig(store) as worker:
            assert values(await worker.writer.write(BLOCK)) == [6]
        assert in_table(store) == [0, 1, 2, 3, 4, 5, 7]

    async def test_between_outages_is_still_found(self) -> None:
        store = MemoryStore(lambda row: row.value == 5)
        async with rig(store) as worker:
            store.fail_inserts(*[unavailable, unavailable, None] * 10)
            failed = await worker.writer.write(BLOCK)
        assert values(failed) == [5]
        assert classes(failed) == {ErrorClass.ROW_REFUSED}
        assert in_table(store) == [0, 1, 2, 3, 4, 6, 7]

    async def test_counts_the_inserts_that_held_the_row(self) -> None:
        store = MemoryStore(lambda row: row.value == 5)
        async with rig(store) as worker:
            store.fail_inserts(unavailable, None, None, unavailable)
            (failed,) = await worker.writer.write(BLOCK)
        assert store.inserts == [8, 8, 4, 4, 4, 2, 2, 1, 1]
        # The whole twice, metric b twice (1, 3, 5, 7), its second half (5, 7), and alone.
        assert failed.attempts == 6

    @given(
        st.sets(st.integers(0, 7)),
        st.lists(st.sampled_from([None, unavailable, misconfigured]), max_size=12),
        st.booleans(),
        st.booleans(),
        st.sampled_from(OnUnavailable),
    )
    async def test_counts_them_right_whatever_happens(
        self,
        guilty: set[int],
        script: list[object],
        names_row: bool,
        names_constraint: bool,
        on_unavailable: OnUnavailable,
    ) -> None:
        store = CountingStore(lambda row: row.value in guilty, names_row=names_row, names_constraint=names_constraint)
        async with rig(store, on_unavailable) as worker:
            store.fail_inserts(*script)  # type: ignore[arg-type]  # sampled_from forgets the types
            failed = await worker.writer.write(BLOCK)
        for item in failed:
            assert item.attempts == store.held[item.event.execution_id, item.metric]


class TestACodeThatNobodyKnows:
    @pytest.mark.parametrize("guilty", [{0}, {7}, {3, 4}, {0, 1, 2}, {1, 3, 5, 7}, set(range(7))])
    async def test_refuses_the_rows_where_others_pass(self, guilty: set[int]) -> None:
        store = MemoryStore(fails=lambda row: row.value in guilty)
        async with rig(store) as worker:
            failed = await worker.writer.write(BLOCK)
            assert not worker.hold.active
        assert values(failed) == sorted(guilty)
        assert {item.failure for item in failed} == {
            Failure(ErrorClass.ROW_REFUSED, "ILLEGAL_DIVISION", "division by zero", 153)
        }
        assert in_table(store) == sorted(set(range(8)) - guilty)

    @pytest.mark.parametrize("metric", ["metric_0", "metric_5", "metric_9"])
    async def test_of_one_metric_never_fails_the_others(self, metric: str) -> None:
        """However many rows it has, and wherever they stand: a good metric is not dead-lettered for a bad one."""
        store = MemoryStore(fails=lambda row: row.metric == metric)
        async with rig(store) as worker:
            failed = await worker.writer.write(block_of(many_events(200), [f"metric_{number}" for number in range(10)]))
            assert not worker.hold.active
        assert {item.metric for item in failed} == {metric}
        assert len(failed) == 200
        assert classes(failed) == {ErrorClass.ROW_REFUSED}
        assert len(store.table) == 1_800

    async def test_that_comes_after_some_rows_were_accepted_blames_no_innocent(self) -> None:
        """One metric is refused; once the first good piece is in, the store fails for all with a code nobody knows."""
        store = MemoryStore(lambda row: row.metric == "metric_0" and row.value < 30)
        block = block_of(many_events(20), [f"metric_{number}" for number in range(10)])
        async with rig(store) as worker:
            store.watch = lambda: setattr(store, "broken", unknown) if store.acknowledged else None
            failed = await worker.writer.write(block)
            assert worker.hold.active
        innocent = [item for item in failed if item.metric != "metric_0"]
        assert innocent
        assert classes(innocent) == {ErrorClass.STORE_UNAVAILABLE}
        assert len(failed) + len(store.acknowledged) == 200

    async def test_while_another_block_passes_blames_no_innocent(self) -> None:
        store = MemoryStore()
        async with rig(store) as worker:
            store.fail_inserts(unknown)
            first = asyncio.create_task(worker.writer.write(block_of(many_events(3), ["a", "b"])))
            await worker.writer.write(BLOCK)
            store.broken = unknown
            assert classes(await first) <= {ErrorClass.STORE_UNAVAILABLE}

    @pytest.mark.parametrize("events", [1, 2, 1_000])
    async def test_is_an_outage_where_nothing_passes(self, events: int) -> None:
        async with rig() as worker:
            worker.store.broken = unknown
            block = block_of(many_events(events), ["a", "b"])
            failed = await worker.writer.write(block)
            assert worker.hold.reasons
        assert {item.failure for item in failed} == {
            Failure(ErrorClass.STORE_UNAVAILABLE, "ILLEGAL_DIVISION", "division by zero", 153)
        }
        assert len(failed) == 2 * events
        assert len(worker.store.inserts) <= RETRY.attempts * 120, "an outage is not searched row by row"

    async def test_that_ends_within_the_budget_is_not_noticed(self) -> None:
        async with rig() as worker:
            worker.store.fail_inserts(*[unknown] * 4)  # the whole, each metric, ...
            assert await worker.writer.write(block_of(many_events(1), ["a", "b"])) == []
            assert len(worker.store.table) == 2

    async def test_followed_by_an_outage_loses_no_row(self) -> None:
        async with rig() as worker:
            # The whole, metric a, its first half and the first row; then the store is gone.
            worker.store.fail_inserts(*[unknown] * 4, *[unavailable] * RETRY.attempts)
            worker.store.fail_probes(unavailable)
            failed = await worker.writer.write(BLOCK)
            assert values(failed) == list(range(8))
            assert classes(failed) == {ErrorClass.STORE_UNAVAILABLE}

    async def test_waits_where_the_policy_is_to_hold(self) -> None:
        async with rig(on_unavailable=OnUnavailable.HOLD) as worker:
            worker.store.fail_inserts(*[unknown] * 50)
            assert await worker.writer.write(BLOCK) == []
            assert in_table(worker.store) == list(range(8))

    @pytest.mark.parametrize("times", range(1, 20))
    async def test_that_goes_away_again_fails_no_row(self, times: int) -> None:
        """Single rows that were refused before anything passed get another chance when something does."""
        async with rig() as worker:
            worker.store.fail_inserts(*[unknown] * times)
            assert await worker.writer.write(BLOCK) == []
            assert in_table(worker.store) == list(range(8))

    @pytest.mark.parametrize("taken_before", [False, True])
    async def test_beside_a_known_refusal_is_judged_by_what_was_taken_and_not_by_that(self, taken_before: bool) -> None:
        store = MemoryStore(lambda row: row.metric == "a", fails=lambda row: row.metric == "b")
        async with rig(store) as worker:
            if taken_before:
                await worker.writer.write(block_of(many_events(1), ["good"]))
            failed = await worker.writer.write(BLOCK)
        assert values(failed) == [0, 1, 2, 3, 4, 5, 6, 7]
        of_b = [item for item in failed if item.metric == "b"]
        assert classes(of_b) == {ErrorClass.ROW_REFUSED if taken_before else ErrorClass.STORE_UNAVAILABLE}

    @BOTH
    async def test_from_a_lone_row_is_a_refusal_once_anything_was_taken(self, on_unavailable: OnUnavailable) -> None:
        store = MemoryStore(fails=lambda row: row.metric == "poison")
        async with rig(store, on_unavailable) as worker:
            assert await worker.writer.write(BLOCK) == []
            failed = await worker.writer.write(block_of(many_events(1), ["poison"]))
            assert classes(failed) == {ErrorClass.ROW_REFUSED}
            assert not worker.hold.active
            assert store.table == stored_rows(BLOCK), "the question has left nothing behind"

    async def test_from_a_lone_row_that_comes_first_after_an_outage_lets_others_tell(self) -> None:
        store = MemoryStore(fails=lambda row: row.metric == "poison")
        async with rig(store) as worker:
            store.fail_inserts(*[unavailable] * RETRY.attempts)
            store.fail_probes(unavailable)
            await worker.writer.write(BLOCK)
            lone = asyncio.create_task(worker.writer.write(block_of(many_events(1), ["poison"])))
            tried_enough = asyncio.Event()
            worker.clock.watch = lambda: tried_enough.set() if len(store.inserts) > 20 else None
            await tried_enough.wait()
            assert not lone.done()
            assert worker.hold.reasons
            assert not worker.hold.active, "others may come and tell"
            assert await worker.writer.write(block_of(many_events(1), ["good"])) == []
            assert classes(await lone) == {ErrorClass.ROW_REFUSED}
            assert not worker.hold.active

    async def test_that_stays_dead_letters_what_was_under_way_and_nothing_after_it(self) -> None:
        async with rig() as worker:
            assert await worker.writer.write(BLOCK) == []
            worker.store.broken = unknown
            failed = await worker.writer.write(block_of(many_events(9), ["a"]))
            assert classes(failed) == {ErrorClass.STORE_UNAVAILABLE}
            later = asyncio.create_task(worker.writer.write(block_of(many_events(5), ["a"])))
            held: list[bool] = []
            enough = asyncio.Event()

            def look() -> None:
                held.append(worker.hold.active)
                if worker.store.probes > 100:
                    enough.set()

            worker.clock.watch = look
            await enough.wait()
            assert not later.done()
            assert set(held) == {True}
            worker.store.broken = None
            assert await later == []
            assert not worker.hold.active


class TestRowsThatAreTooMuch:
    """The store is there, and cannot manage so many rows at once (241, 159, a time-out of ours)."""

    class Small(MemoryStore):
        """Fails for inserts of more than `most` rows."""

        def __init__(self, most: int) -> None:
            super().__init__()
            self.most = most

        async def insert(self, block: Block) -> None:
            if len(block) > self.most:
                self.inserts.append(len(block))
                raise unavailable()
            await super().insert(block)

    @BOTH
    @pytest.mark.parametrize("metrics", [["m"], ["a", "b"]])
    async def test_are_divided_until_it_can(self, on_unavailable: OnUnavailable, metrics: list[str]) -> None:
        block = block_of(many_events(100), metrics)
        async with rig(self.Small(30), on_unavailable) as worker:
            await worker.writer.write(block_of(many_events(3), ["m"]))
            with capture_logs() as logs:
                assert await worker.writer.write(block) == []
            assert Counter(worker.store.acknowledged[3:]) == Counter(stored_rows(block))
            assert not worker.hold.reasons, "that is no outage"
            assert "holding" not in [entry["event"] for entry in logs]

    @BOTH
    async def test_are_found_to_be_that_after_an_outage_too(self, on_unavailable: OnUnavailable) -> None:
        store = self.Small(30)
        async with rig(store, on_unavailable) as worker:
            await worker.writer.write(block_of(many_events(3), ["m"]))
            store.down = unavailable
            worker.clock.watch = lambda: setattr(store, "down", None) if store.probes > 3 else None
            await worker.writer.write(block_of(many_events(20), ["m"]))
            assert await worker.writer.write(block_of(many_events(100), ["other"])) == []
            assert not worker.hold.active

    @BOTH
    async def test_a_single_row_that_is_too_much_has_its_whole_budget(self, on_unavailable: OnUnavailable) -> None:
        class Chokes(MemoryStore):
            async def insert(self, block: Block) -> None:
                if any(row.metric == "huge" for row in block.rows()):
                    self.inserts.append(len(block))
                    raise unavailable()
                await super().insert(block)

        async with rig(Chokes(), on_unavailable) as worker:
            await worker.writer.write(BLOCK)
            worker.store.inserts.clear()
            (failed,) = await worker.writer.write(block_of(many_events(1), ["good", "huge", "fine"]))
            assert (failed.metric, failed.failure.error_class) == ("huge", ErrorClass.STORE_UNAVAILABLE)
            assert failed.attempts == 4 * RETRY.attempts, "in the whole, and three times alone"
            assert not worker.hold.active


SCRIPT = st.lists(st.sampled_from(["pass", "away", "lost", "misconfigured", "unknown"]), max_size=15)


def follow(store: MemoryStore, script: list[str]) -> None:
    for step in script:
        if step == "lost":
            store.lose_answers(1)
        else:
            errors = {"pass": None, "away": unavailable, "misconfigured": misconfigured, "unknown": unknown}
            store.fail_inserts(errors[step])


class TestWhateverHappens:
    @given(
        strategies.row_lists(),
        st.sets(st.sampled_from(["a", "b", "ab"])),
        st.sets(st.sampled_from([0.0, 1.0])),
        SCRIPT,
        st.booleans(),
        st.booleans(),
        st.sampled_from(OnUnavailable),
    )
    async def test_each_row_is_acknowledged_or_failed(
        self,
        lists: list[list[Row]],
        bad_metrics: set[str],
        bad_values: set[float],
        script: list[str],
        names_row: bool,
        names_constraint: bool,
        on_unavailable: OnUnavailable,
    ) -> None:
        block = Block.of(202601, lists[0])
        store = MemoryStore(
            lambda row: row.metric in bad_metrics and row.value in bad_values,
            names_row=names_row,
            names_constraint=names_constraint,
        )
        async with rig(store, on_unavailable) as worker:
            follow(store, script)
            failed = await worker.writer.write(block)
        returned = stored_rows(Block.of(202601, (Row(item.event, item.metric, _number(item)) for item in failed)))
        assert Counter(store.acknowledged) + Counter(returned) == Counter(stored_rows(block))
        for item in failed:
            refused = item.metric in bad_metrics and item.value in bad_values
            if item.failure.code == 469:
                assert refused
            if on_unavailable is OnUnavailable.HOLD and "unknown" not in script:
                assert refused

    @given(SCRIPT, st.sampled_from(OnUnavailable))
    async def test_blocks_that_are_written_at_once_do_not_disturb_each_other(
        self, script: list[str], on_unavailable: OnUnavailable
    ) -> None:
        events = many_events(9)
        blocks = [block_of(events[start : start + 3], ["a", "b"]) for start in (0, 3, 6)]
        store = MemoryStore(lambda row: row.metric == "b" and row.value == 3)
        async with rig(store, on_unavailable) as worker:
            follow(store, script)
            failed = await asyncio.gather(*(worker.writer.write(block) for block in blocks))
            await _rest(worker)
            assert not worker.hold.active
        for block, items in zip(blocks, failed, strict=True):
            returned = stored_rows(Block.of(202601, (Row(item.event, item.metric, _number(item)) for item in items)))
            expected = Counter(stored_rows(block))
            acknowledged = Counter(row for row in store.acknowledged if row in expected)
            assert acknowledged + Counter(returned) == expected


async def _rest(worker: Rig) -> None:
    """Until the probe has been answered."""
    async with worker.breaker.admission(202601):
        pass


def _number(item: FailedMetric) -> float:
    assert not isinstance(item.value, tuple)
    return item.value
