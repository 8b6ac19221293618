"""Promise 2: when `process` returns every metric of every event is a row, a dead letter, or was skipped and counted."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support import strategies
from tests.support.events import Record, block_of, event, read, record
from tests.support.fakes import Error, MemoryStore, misconfigured, unavailable, unknown
from tests.support.rig import Rig, rig
from worker.block import Block
from worker.decode import decode
from worker.errors import ErrorClass, InvalidEvent
from worker.hold import Cause
from worker.model import Failed, FailedMetric, Row, Unrepresentable
from worker.writing.writer import OnUnavailable

Fate = tuple[int, str | None]
"""An offset and the name of a metric, or None for the whole record."""


def fates_of(failed: Failed) -> Fate:
    if isinstance(failed, FailedMetric):
        return failed.event.record.offset, failed.metric
    return failed.record.offset, None


def due(records: list[Record]) -> tuple[Counter[Fate], int, int]:
    """What must become a row or a dead letter, and how many metrics and records must be skipped."""
    fates: Counter[Fate] = Counter()
    skipped = tombstones = 0
    for item in records:
        try:
            read = decode(item)
        except InvalidEvent:
            fates[item.offset, None] += 1
            continue
        if read is None:
            tombstones += 1
            continue
        for name, value in read.metrics.items():
            if isinstance(value, int | float | Unrepresentable):
                fates[item.offset, name] += 1
            else:
                skipped += 1
    return fates, skipped, tombstones


STEPS: dict[str, Error | None] = {
    "pass": None,
    "away": unavailable,
    "misconfigured": misconfigured,
    "unknown": unknown,
}
ROW_RULES: dict[str, Callable[[Row], bool]] = {
    "nothing": lambda _: False,
    "negative": lambda row: row.value < 0,
    "one name": lambda row: row.metric == "cost_usd",
    "one record": lambda row: row.event.record.offset == 2,
    "everything": lambda _: True,
}


def count(worker: Rig, name: str, *labels: str) -> float:
    """The sum of a counter over its labels."""
    samples = [sample for metric in worker.telemetry.registry.collect() for sample in metric.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == f"metrics_worker_{name}_total" and (not labels or tuple(sample.labels.values()) == labels)
    )


EARLIER = block_of([read(event(agent_name="earlier", metrics={}))], ["m"])
"""What the store took before: then it can be told that it is there."""


def but_earlier(rule: str) -> Callable[[Row], bool]:
    return lambda row: row.event.agent_name != "earlier" and ROW_RULES[rule](row)


row_rules = strategies.mostly(st.sampled_from([*ROW_RULES][:-1]), st.just("everything"))


class TestTheThreeEnds:
    @settings(max_examples=400)
    @given(
        records=strategies.batches(),
        refused=row_rules,
        unknown_for=row_rules,
        names_row=st.booleans(),
        names_constraint=st.booleans(),
        inserts=st.lists(st.sampled_from([*STEPS, "lost"]), max_size=12),
        probes=st.lists(st.sampled_from([unavailable, misconfigured]), max_size=3),
        puts=st.lists(st.one_of(st.none(), st.sets(st.integers(0, 5))), max_size=4),
        on_unavailable=st.sampled_from(OnUnavailable),
        taken_before=st.booleans(),
    )
    async def test_each_metric_has_exactly_one(
        self,
        records: list[Record],
        refused: str,
        unknown_for: str,
        names_row: bool,
        names_constraint: bool,
        inserts: list[str],
        probes: list[Error],
        puts: list[set[int] | None],
        on_unavailable: OnUnavailable,
        taken_before: bool,
    ) -> None:
        if not taken_before:
            unknown_for = "nothing"  # a store that has never taken anything may be away: it waits for ever
        store = MemoryStore(
            but_earlier(refused),
            fails=but_earlier(unknown_for),
            names_row=names_row,
            names_constraint=names_constraint,
        )
        async with rig(store, on_unavailable) as worker:
            if taken_before:
                assert await worker.writer.write(EARLIER) == []
                store.acknowledged.clear()
            for step in inserts:
                store.lose_answers(1) if step == "lost" else store.fail_inserts(STEPS[step])
            store.fail_probes(*probes)
            worker.dead_letters.fail_puts(*puts)
            await worker.pipeline.process(records)
            reasons = dict(worker.hold.reasons)

        fates, skipped, tombstones = due(records)
        rows = Counter((row.source_offset, row.metric_type) for row in store.acknowledged)
        letters = Counter(fates_of(item) for item in worker.dead_letters.letters)
        assert rows + letters == fates
        assert count(worker, "metrics_skipped") == skipped
        assert count(worker, "tombstones") == tombstones
        assert count(worker, "rows_written") == rows.total()
        assert count(worker, "dead_letters") == letters.total()
        # A lost answer can leave rows behind that are dead letters too, or that come again in smaller pieces, which the
        # view hides; but nothing that nobody sent.
        assert {(row.source_offset, row.metric_type) for row in store.table[taken_before:]} <= set(fates)
        assert Cause.DEAD_LETTERS not in reasons
        note(f"rows: {bool(rows)}, dead letters: {bool(letters)}, still holding: {bool(reasons)}")

    @given(strategies.batches())
    async def test_a_batch_that_comes_again_changes_nothing_that_can_be_seen(self, records: list[Record]) -> None:
        async with rig() as worker:
            await worker.pipeline.process(records)
            shown = worker.store.deduplicated()
            await worker.pipeline.process(records)
            for item in records:
                await worker.pipeline.process([item])
            assert {key: row for key, row in worker.store.deduplicated().items() if row != shown[key]} == {}
            assert len(worker.store.deduplicated()) == len(shown)

    async def test_are_seen_in_one_batch(self) -> None:
        metrics = {"good": 1, "refused": -1, "text": "x", "bad": float("nan")}
        store = MemoryStore(lambda row: row.value < 0)
        async with rig(store) as worker:
            await worker.pipeline.process(
                [record(event(metrics=metrics), offset=1), record(b"{", offset=2), record(None, offset=3)]
            )
            assert [(row.metric_type, row.source_offset) for row in store.table] == [("good", 1)]
            assert {(*fates_of(item), item.failure.error_class) for item in worker.dead_letters.letters} == {
                (1, "refused", ErrorClass.ROW_REFUSED),
                (1, "bad", ErrorClass.INVALID_METRIC),
                (2, None, ErrorClass.INVALID_EVENT),
            }
            assert worker.counted("events") == 1
            assert worker.counted("tombstones") == 1
            assert worker.counted("rows_written") == 1
            assert worker.counted("metrics_skipped", json_type="string") == 1
            assert worker.counted("dead_letters", kind="metric", error_class="row_refused") == 1
            assert worker.counted("dead_letters", kind="metric", error_class="invalid_metric") == 1
            assert worker.counted("dead_letters", kind="event", error_class="invalid_event") == 1

    async def test_of_nothing_are_nothing(self) -> None:
        async with rig() as worker:
            await worker.pipeline.process([])
            await worker.pipeline.process([record(event(metrics={})), record(None)])
            assert worker.store.inserts == []
            assert worker.dead_letters.puts == []


class TestBlocks:
    async def test_are_one_a_month(self) -> None:
        times = ["2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z", "1969-12-31T23:59:59Z"]
        offsets: dict[int, set[int]] = {}

        class Watched(MemoryStore):
            async def insert(self, block: Block) -> None:
                offsets[block.month] = {row.event.record.offset for row in block.rows()}
                await super().insert(block)

        async with rig(Watched()) as worker:
            await worker.pipeline.process(
                [record(event(completed_at=time), offset=offset) for offset, time in enumerate(times)]
            )
            assert sorted(worker.store.inserts) == [2, 2, 4]
        assert offsets == {202601: {0, 2}, 202602: {1}, 196912: {3}}

    async def test_stay_small_whatever_the_batch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("worker.pipeline.MAX_ROWS", 10)
        records = [record(event(metrics={"a": 1, "b": 2, "bad": float("nan")}), offset=offset) for offset in range(50)]
        async with rig() as worker:
            await worker.pipeline.process(records)
            assert max(worker.store.inserts) <= 10
            assert max(worker.dead_letters.puts) <= 5
            assert len(worker.store.table) == 100
            assert len(worker.dead_letters.letters) == 50

    async def test_are_made_without_holding_up_the_event_loop(self) -> None:
        turns: list[int] = []

        records = [record(event(), offset=offset) for offset in range(2_000)]

        async def others() -> None:
            while True:
                turns.append(len(turns))
                await asyncio.sleep(0)

        async with rig() as worker:
            beside = asyncio.create_task(others())
            await worker.pipeline.process(records)
            beside.cancel()
        assert len(turns) >= 2_000 / 250


class TestDeadLettersThatAreNotAcknowledged:
    async def test_hold_with_the_reason_and_end_the_hold(self) -> None:
        async with rig() as worker:
            seen: list[dict[Cause, str]] = []
            worker.clock.watch = lambda: seen.append(dict(worker.hold.reasons))
            worker.dead_letters.fail_puts(*[None] * 7)
            await worker.pipeline.process([record(b"{")])
            assert seen == [{Cause.DEAD_LETTERS: "not acknowledged in time"}] * 7
            assert not worker.hold.active
            assert len(worker.dead_letters.letters) == 1
            assert worker.counted("dead_letters", kind="event", error_class="invalid_event") == 1

    async def test_hold_no_longer_when_a_revoke_ends_their_batch(self) -> None:
        async with rig() as worker:
            waits = asyncio.Event()
            worker.clock.watch = waits.set
            worker.dead_letters.fail_puts(*[None] * 1_000)
            batch = asyncio.create_task(worker.pipeline.process([record(b"{")]))
            await waits.wait()
            assert worker.hold.active
            batch.cancel()
            await asyncio.gather(batch, return_exceptions=True)
            assert not worker.hold.active

    async def test_are_put_again_and_the_others_are_not(self) -> None:
        async with rig() as worker:
            worker.dead_letters.fail_puts({1, 3}, {0})
            await worker.pipeline.process([record(b"{", offset=offset) for offset in range(5)])
            assert worker.dead_letters.puts == [5, 2, 1]
            assert sorted(fates_of(item) for item in worker.dead_letters.letters) == [(at, None) for at in range(5)]

    async def test_keep_process_from_returning(self) -> None:
        async with rig() as worker:
            worker.dead_letters.fail_puts(*[None] * 1_000)
            running = asyncio.create_task(worker.pipeline.process([record(b"{")]))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not running.done()
            assert worker.hold.active
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert worker.counted("dead_letters", kind="event", error_class="invalid_event") == 0

    async def test_are_put_at_an_ever_slower_pace_without_end(self) -> None:
        async with rig() as worker:
            worker.dead_letters.fail_puts(*[None] * 60)
            await worker.pipeline.process([record(b"{")])
            assert len(worker.clock.slept) == 60
            assert max(worker.clock.slept) <= 8.0

    async def test_are_put_in_portions(self) -> None:
        async with rig() as worker:
            await worker.pipeline.process([record(b"{", offset=offset) for offset in range(2_500)])
            assert worker.dead_letters.puts == [1_000, 1_000, 500]


class TestLogs:
    async def test_name_the_metric_and_the_execution_of_every_failure_and_no_user(self) -> None:
        users = {"metrics": {"cost": float("nan")}, "user_id": "alice-7"}
        async with rig() as worker:
            with capture_logs() as logs:
                await worker.pipeline.process([record(event(**users), offset=3), record(b"{", offset=4)])
        metric, whole = logs
        assert (metric["kind"], metric["metric"], metric["error_type"]) == ("metric", "cost", "UnrepresentableNumber")
        assert metric["execution_id"] == event()["execution_id"]
        assert (whole["kind"], whole["source"]) == ("event", "execution-completed/0/4")
        assert "alice" not in str(logs)

    async def test_are_short_whatever_the_name_of_a_metric(self) -> None:
        async with rig() as worker:
            with capture_logs() as logs:
                await worker.pipeline.process([record(event(metrics={"n" * 1_000_000: 1}))])
        (entry,) = logs
        assert entry["error_type"] == "InvalidName"
        assert len(str(entry)) < 1_000


class TestHolding:
    async def test_for_the_store_ends_before_the_next_batch_is_written(self) -> None:
        async with rig() as worker:
            worker.store.down = unavailable
            await worker.pipeline.process([record(event(), offset=1)])
            assert worker.hold.active
            assert len(worker.dead_letters.letters) == 2
            next_batch = asyncio.create_task(worker.pipeline.process([record(event(), offset=2)]))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not next_batch.done()
            assert len(worker.dead_letters.letters) == 2, "an outage is met once, not once a batch"
            worker.store.down = None
            await next_batch
            assert {row.source_offset for row in worker.store.table} == {2}
            assert not worker.hold.active
