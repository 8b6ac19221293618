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
from tests.support.clock import until
from tests.support.events import Record, event, record
from tests.support.fakes import MISCONFIGURED, REFUSED, TOO_LARGE, UNAVAILABLE, UNCLASSIFIED, MemoryStore
from tests.support.worker_harness import WorkerHarness, open_worker_harness
from worker.core.errors import ErrorClass, InvalidEvent
from worker.core.hold import Cause
from worker.core.model import Failed, FailedMetric, Row, UnrepresentableNumber
from worker.core.outcome import Outcome
from worker.events.block import Block
from worker.events.decode import decode
from worker.events.fan_out import FanOut
from worker.pipeline import MAX_BYTES
from worker.writing.on_unavailable import OnUnavailable

MetricId = tuple[int, str | None]
"""An offset and the name of a metric, or None for the whole record."""


def id_of(failed: Failed) -> MetricId:
    if isinstance(failed, FailedMetric):
        return failed.event.record.offset, failed.metric
    return failed.record.offset, None


def expected_results(records: list[Record]) -> tuple[Counter[MetricId], int, int]:
    """What must become a row or a dead letter, and how many metrics and records must be skipped."""
    results: Counter[MetricId] = Counter()
    skipped = tombstones = 0
    for item in records:
        try:
            read = decode(item)
        except InvalidEvent:
            results[item.offset, None] += 1
            continue
        if read is None:
            tombstones += 1
            continue
        for name, value in read.metrics.items():
            if isinstance(value, int | float | UnrepresentableNumber):
                results[item.offset, name] += 1
            else:
                skipped += 1
    return results, skipped, tombstones


TWO_METRICS = {"test_metric": 123, "another_metric": 456.78}

STEPS = ["pass", "lost", UNAVAILABLE, MISCONFIGURED, UNCLASSIFIED, TOO_LARGE, REFUSED]
ROW_RULES: dict[str, Callable[[Row], bool]] = {
    "nothing": lambda _: False,
    "negative": lambda row: row.value < 0,
    "one name": lambda row: row.metric == "cost_usd",
    "one record": lambda row: row.event.record.offset == 2,
    "everything": lambda _: True,
}


def total(worker: WorkerHarness, name: str) -> float:
    """The sum of a counter over its labels."""
    samples = [sample for metric in worker.telemetry.registry.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name == f"metrics_worker_{name}_total")


row_rules = strategies.mostly(st.sampled_from([*ROW_RULES][:-1]), st.just("everything"))

_MAX_WAITS = 100
"""Waits after which the store has no more unclassified failures."""


class TestResults:
    @settings(max_examples=400)
    @given(
        records=strategies.batches(),
        refused=row_rules,
        unclassified=row_rules,
        names_constraint=st.booleans(),
        steps=st.lists(st.sampled_from(STEPS), max_size=12),
        probes=st.lists(st.sampled_from([UNAVAILABLE, MISCONFIGURED]), max_size=3),
        writes=st.lists(st.one_of(st.none(), st.sets(st.integers(0, 5))), max_size=4),
        on_unavailable=st.sampled_from(OnUnavailable),
    )
    async def test_each_metric_becomes_exactly_one_row_or_dead_letter_or_skip(
        self,
        records: list[Record],
        refused: str,
        unclassified: str,
        names_constraint: bool,
        steps: list[str | Outcome],
        probes: list[Outcome],
        writes: list[set[int] | None],
        on_unavailable: OnUnavailable,
    ) -> None:
        def fails(row: Row) -> bool:
            return len(worker.clock.slept) < _MAX_WAITS and ROW_RULES[unclassified](row)

        store = MemoryStore(ROW_RULES[refused], fails=fails, names_constraint=names_constraint)
        async with open_worker_harness(store, on_unavailable) as worker:
            store.follow(steps)
            store.fail_probes(*probes)
            worker.dead_letters.fail_writes(*writes)
            await worker.pipeline.process(records)
            reasons = dict(worker.hold.reasons)

        expected, skipped, tombstones = expected_results(records)
        rows = Counter((row.source_offset, row.metric_type) for row in store.acknowledged)
        letters = Counter(id_of(item) for item in worker.dead_letters.letters)
        counted = ("metrics_skipped", "tombstones", "rows_written", "dead_letters")
        assert rows + letters == expected
        assert [total(worker, name) for name in counted] == [skipped, tombstones, rows.total(), letters.total()]
        # After a lost answer rows can be dead letters too, or be inserted again in smaller blocks; the view hides that.
        assert {(row.source_offset, row.metric_type) for row in store.table} <= set(expected)
        assert Cause.DEAD_LETTERS not in reasons
        if on_unavailable is OnUnavailable.HOLD:
            assert ErrorClass.STORE_UNAVAILABLE not in {
                item.failure.error_class for item in worker.dead_letters.letters
            }
        note(f"rows: {bool(rows)}, dead letters: {bool(letters)}, still holding: {bool(reasons)}")

    @given(strategies.batches())
    async def test_redelivered_batch_changes_nothing_in_the_view(self, records: list[Record]) -> None:
        async with open_worker_harness() as worker:
            await worker.pipeline.process(records)
            before = worker.store.deduplicated()
            await worker.pipeline.process(records)
            for item in records:
                await worker.pipeline.process([item])
            assert {key: row for key, row in worker.store.deduplicated().items() if row != before[key]} == {}
            assert len(worker.store.deduplicated()) == len(before)

    async def test_one_batch_can_have_all_results(self) -> None:
        metrics = {"good": 1, "refused": -1, "text": "x", "bad": float("nan")}
        labels = {"model": "m", "attempt": 2}
        store = MemoryStore(lambda row: row.value < 0)
        async with open_worker_harness(store) as worker:
            await worker.pipeline.process(
                [
                    record(event(metrics=metrics, labels=labels), offset=1),
                    record(b"{", offset=2),
                    record(None, offset=3),
                ]
            )
            assert [(row.metric_type, row.source_offset) for row in store.table] == [("good", 1)]
            assert {(*id_of(item), item.failure.error_class) for item in worker.dead_letters.letters} == {
                (1, "refused", ErrorClass.ROW_REFUSED),
                (1, "bad", ErrorClass.INVALID_METRIC),
                (2, None, ErrorClass.INVALID_EVENT),
            }
            counted = ("events", "tombstones", "rows_written", "metrics_skipped")
            assert [total(worker, name) for name in counted] == [1, 1, 1, 1]
            assert worker.counted("metrics_skipped", json_type="string") == 1
            assert worker.counted("labels_skipped", reason="not_a_string") == 1
            assert worker.telemetry.activity.most_skipped == [
                (("metric", "text", "string"), 1),
                (("label", "attempt", "not_a_string"), 1),
            ]
            assert worker.counted("dead_letters", kind="metric", error_class="row_refused") == 1
            assert worker.counted("dead_letters", kind="metric", error_class="invalid_metric") == 1
            assert worker.counted("dead_letters", kind="event", error_class="invalid_event") == 1

    async def test_empty_batch_and_empty_events_write_nothing(self) -> None:
        async with open_worker_harness() as worker:
            await worker.pipeline.process([])
            await worker.pipeline.process([record(event(metrics={})), record(None)])
            assert worker.store.inserts == []
            assert worker.dead_letters.write_sizes == []


class TestBlocks:
    async def test_max_bytes_bounds_blocks_and_dead_letters_of_a_large_batch(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        records = [record(event(metrics={"good": 1, "bad": float("nan")}), offset=offset) for offset in range(50)]
        FanOut().add_record(records[0])  # the name of a row counts where it is new
        five = FanOut()
        for item in records[:5]:
            five.add_record(item)
        monkeypatch.setattr("worker.pipeline.MAX_BYTES", five.bytes)
        async with open_worker_harness() as worker:
            await worker.pipeline.process(records)
            assert worker.store.inserts == [5] * 10
            assert worker.dead_letters.write_sizes == [5] * 10

    async def test_event_loop_runs_while_records_are_decoded(self) -> None:
        async with open_worker_harness() as worker:
            batch = asyncio.create_task(worker.pipeline.process([record(event())] * 2_000))
            turns = 0
            while not batch.done():
                turns += 1
                await asyncio.sleep(0)
        assert turns >= 2_000 / 250

    async def test_long_users_of_many_metrics_make_small_blocks(self) -> None:
        metrics = {str(number): number for number in range(1_000)}
        records = [record(event(user_id="\U0001f980" * 256, metrics=metrics), offset=offset) for offset in range(40)]
        async with open_worker_harness() as worker:
            await worker.pipeline.process(records)
            assert sum(worker.store.inserts) == 40_000
            assert max(worker.store.inserts) * 1_024 <= MAX_BYTES

    async def test_months_with_few_rows_share_an_insert(self) -> None:
        records = [
            record(event(metrics={"m": 1}, completed_at=f"2025-{month:02}-15T12:00:00Z"), offset=month)
            for month in range(1, 13)
        ]
        records += [record(event(metrics={str(number): 1 for number in range(1_000)}), offset=13)]
        async with open_worker_harness() as worker:
            await worker.pipeline.process(records)
            assert sorted(worker.store.inserts) == [12, 1_000]
            assert len({row.completed_at for row in worker.store.table}) == 13

    @pytest.mark.parametrize("on_unavailable", OnUnavailable)
    async def test_month_that_the_store_does_not_accept_does_not_delay_others(
        self, on_unavailable: OnUnavailable
    ) -> None:
        thousand_metrics = {str(number): number for number in range(1_000)}  # with fewer the months share an INSERT
        records = [
            record(event(metrics=thousand_metrics, completed_at=f"2025-0{month}-15T12:00:00Z"), offset=month)
            for month in (1, 2, 3)
        ]
        async with open_worker_harness(on_unavailable=on_unavailable) as worker:
            worker.store.outcome_of = lambda block: MISCONFIGURED if block.month == 202501 else None
            batch = asyncio.create_task(worker.pipeline.process(records))
            await until(lambda: len(worker.store.table) == 2_000)
            assert not batch.done()
            worker.store.outcome_of = lambda _: None
            await batch
            assert len(worker.store.table) == 3_000


class TestUnacknowledgedDeadLetters:
    async def test_batch_that_waits_for_the_store_has_written_no_dead_letter(self) -> None:
        """It may be dropped, and its dead letters would be written again."""
        records = [record(b"{", offset=0), record(event(metrics={"good": 1, "refused": -1}), offset=1)]
        store = MemoryStore(lambda row: row.value < 0)
        async with open_worker_harness(store, OnUnavailable.HOLD) as worker:
            store.down = UNAVAILABLE
            for _ in range(3):  # as when a worker is restarted in an outage
                batch = asyncio.create_task(worker.pipeline.process(records))
                await until(lambda: worker.hold.is_active)
                batch.cancel()
                await asyncio.wait([batch])
            store.down = None
            await worker.pipeline.process(records)
            assert [id_of(item) for item in worker.dead_letters.letters] == [(0, None), (1, "refused")]

    async def test_hold_has_the_reason_and_ends_with_the_acknowledgement(self) -> None:
        async with open_worker_harness() as worker:
            seen: list[dict[Cause, str]] = []
            worker.clock.watch = lambda: seen.append(dict(worker.hold.reasons))
            worker.dead_letters.fail_writes(*[None] * 7)
            await worker.pipeline.process([record(b"{")])
            assert seen == [{Cause.DEAD_LETTERS: "not acknowledged in time"}] * 7
            assert not worker.hold.is_active
            assert len(worker.dead_letters.letters) == 1
            assert worker.counted("dead_letters", kind="event", error_class="invalid_event") == 1

    async def test_process_does_not_return_before_the_acknowledgement_and_hold_ends_if_cancelled(self) -> None:
        async with open_worker_harness() as worker:
            worker.dead_letters.fail_writes(*[None] * 1_000)
            batch = asyncio.create_task(worker.pipeline.process([record(b"{")]))
            await until(lambda: len(worker.clock.slept) > 50)
            assert not batch.done()
            assert worker.hold.reasons
            batch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await batch
            assert not worker.hold.is_active
            assert worker.counted("dead_letters", kind="event", error_class="invalid_event") == 0

    async def test_only_unacknowledged_dead_letters_are_written_again(self) -> None:
        async with open_worker_harness() as worker:
            worker.dead_letters.fail_writes({1, 3}, {0})
            await worker.pipeline.process([record(b"{", offset=offset) for offset in range(5)])
            assert worker.dead_letters.write_sizes == [5, 2, 1]
            assert sorted(id_of(item) for item in worker.dead_letters.letters) == [(at, None) for at in range(5)]

    async def test_at_most_1000_dead_letters_are_written_at_once(self) -> None:
        async with open_worker_harness() as worker:
            await worker.pipeline.process([record(b"{", offset=offset) for offset in range(2_500)])
            assert worker.dead_letters.write_sizes == [1_000, 1_000, 500]


async def test_every_failure_is_logged_shortly_with_its_source_and_without_the_user() -> None:
    document = event(metrics={"cost": float("nan"), "n" * 1_000_000: 1}, user_id="alice-7")
    async with open_worker_harness() as worker:
        with capture_logs() as logs:
            await worker.pipeline.process([record(document, offset=3), record(b"{", offset=4)])
    number, name, whole = logs
    assert (number["kind"], number["metric"], number["error_type"]) == ("metric", "cost", "UnrepresentableNumber")
    assert number["execution_id"] == event()["execution_id"]
    assert name["error_type"] == "InvalidName"
    assert len(str(name)) < 1_000
    assert (whole["kind"], whole["source"]) == ("event", "execution-completed/0/4")
    assert "alice" not in str(logs)


class TestFailingStore:
    """The seed's lesson: one `try` around all writes lost every metric after the first that failed."""

    @pytest.mark.parametrize(
        ("outcome", "error_class"), [(REFUSED, ErrorClass.ROW_REFUSED), (UNAVAILABLE, ErrorClass.STORE_UNAVAILABLE)]
    )
    async def test_every_metric_is_attempted_and_dead_lettered_and_the_next_batch_is_processed(
        self, outcome: Outcome, error_class: ErrorClass
    ) -> None:
        attempted: set[str] = set()

        def fail(block: Block) -> Outcome:
            attempted.update(block.metrics)
            return outcome

        async with open_worker_harness() as worker:
            worker.store.outcome_of = fail
            await worker.pipeline.process([record(event(metrics=TWO_METRICS), offset=1)])
            assert attempted == set(TWO_METRICS)
            letters = [item for item in worker.dead_letters.letters if isinstance(item, FailedMetric)]
            assert {item.metric: item.value for item in letters} == TWO_METRICS
            assert {item.failure.error_class for item in letters} == {error_class}
            assert all(item.attempts >= 1 for item in letters)
            worker.store.outcome_of = lambda _: None
            await worker.pipeline.process([record(event(metrics=TWO_METRICS), offset=2)])
            assert {row.metric_type: row.source_offset for row in worker.store.table} == dict.fromkeys(TWO_METRICS, 2)
            assert len(worker.dead_letters.letters) == 2
