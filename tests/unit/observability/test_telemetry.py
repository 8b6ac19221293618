"""Names, labels and values of what the worker measures about itself."""

import asyncio
import re
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from tests.support.clock import until
from tests.support.events import JANUARY_2026, block_of, event, many_events, record
from tests.support.fakes import TOO_LARGE, UNAVAILABLE, MemoryStore, RowRule
from tests.support.worker_harness import WorkerHarness, rig
from worker.core.outcome import WRITTEN, Outcome, OutcomeKind
from worker.events.block import Block
from worker.observability.instruments import BulkHistogram, UnansweredInserts
from worker.observability.lag import PartitionLag
from worker.observability.telemetry import Telemetry

FAMILIES = list(Telemetry().registry.collect())
LABELS = {
    "json_type", "kind", "error_class", "outcome", "code", "reason", "cause", "topic", "partition", "version",
    "python_version",
}  # fmt: skip
"""Each has few values, or as many as there are partitions."""
BOUNDS = (0.5, 1.0, 10.0)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_name_has_the_prefix_and_a_sentence(family: object) -> None:
    name, sentence = family.name, family.documentation  # type: ignore[attr-defined]
    assert re.fullmatch(r"(metrics_worker|process)_[a-z_]+[a-z]", name)
    assert not name.endswith("_total")
    assert len(sentence) > 10
    assert sentence.strip().endswith(".")


def test_no_label_is_unbounded() -> None:
    telemetry = Telemetry()
    collectors = [getattr(telemetry, name) for name in vars(telemetry)]
    named = {label for one in collectors for label in getattr(one, "_labelnames", ())}
    telemetry.set_sources("1", lambda: 0.0, lambda: [PartitionLag("t", 0, 1, 2.0)])
    exported = {
        label for family in telemetry.registry.collect() for sample in family.samples for label in sample.labels
    }
    assert named | exported - {"le"} <= LABELS


def test_lag_is_read_at_each_scrape() -> None:
    telemetry, behind = Telemetry(), [PartitionLag("t", 3, 17, 2.5)]
    telemetry.set_sources("1", lambda: 0.0, lambda: behind)
    labels = {"topic": "t", "partition": "3"}
    assert telemetry.registry.get_sample_value("metrics_worker_lag_records", labels) == 17
    assert telemetry.registry.get_sample_value("metrics_worker_lag_seconds", labels) == 2.5
    behind.clear()
    assert telemetry.registry.get_sample_value("metrics_worker_lag_records", labels) is None


@given(st.lists(st.lists(st.floats(0, 20))))
def test_observing_many_values_at_once_gives_the_same_histogram(batches: list[list[float]]) -> None:
    one_by_one, at_once = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("h", "H.", buckets=BOUNDS, registry=one_by_one)
    many = BulkHistogram("h", "H.", BOUNDS, at_once)
    for batch in batches:
        for value in batch:
            histogram.observe(value)
        many.observe_all(batch)
    for le in ("0.5", "1.0", "10.0", "+Inf"):
        expected = one_by_one.get_sample_value("h_bucket", {"le": le})
        assert at_once.get_sample_value("h_bucket", {"le": le}) == expected
    assert at_once.get_sample_value("h_count") == one_by_one.get_sample_value("h_count")
    assert at_once.get_sample_value("h_sum") == pytest.approx(one_by_one.get_sample_value("h_sum"))


def test_a_clock_that_is_ahead_does_not_make_the_sum_fall() -> None:
    registry = CollectorRegistry()
    many = BulkHistogram("h", "H.", BOUNDS, registry)
    many.observe_all([2.0])
    many.observe_all([-100.0, 0.25])
    assert registry.get_sample_value("h_sum") == 2.25
    assert registry.get_sample_value("h_bucket", {"le": "0.5"}) == 2


BLOCK = block_of(many_events(4), ["a", "b"])


def value(worker: WorkerHarness, name: str, **labels: str) -> float:
    return worker.telemetry.registry.get_sample_value(f"metrics_worker_{name}", labels) or 0.0


class TestRepeatedInserts:
    async def test_counted_with_their_outcome_and_the_age_of_the_first(self) -> None:
        async with rig() as worker:
            worker.store.fail_inserts(UNAVAILABLE, UNAVAILABLE)
            await worker.writer.write(BLOCK)
            assert value(worker, "insert_retries_total", outcome="unavailable", code="210") == 1
            assert value(worker, "insert_retries_total", outcome="written", code="") == 1
            assert value(worker, "insert_retry_age_seconds_count") == 2

    async def test_unanswered_until_answered(self) -> None:
        seen: list[tuple[float, bool]] = []
        async with rig() as worker:
            worker.store.fail_inserts(UNAVAILABLE)
            worker.store.watch = lambda: seen.append(
                (value(worker, "unanswered_inserts"), value(worker, "oldest_unanswered_insert_seconds") > 0)
            )
            await worker.writer.write(BLOCK)
            assert seen == [(0, False), (1, True)]
            assert value(worker, "unanswered_inserts") == 0
            assert value(worker, "oldest_unanswered_insert_seconds") == 0

    async def test_unanswered_no_longer_when_abandoned(self) -> None:
        async with rig() as worker:
            worker.store.down = UNAVAILABLE
            assert len(await worker.writer.write(BLOCK)) == len(BLOCK)
            assert value(worker, "unanswered_inserts") == 0

    def test_oldest_unanswered_keeps_its_first_time_and_its_last_error(self) -> None:
        unanswered = UnansweredInserts()
        assert unanswered.oldest() == (0, "")
        now = monotonic()
        unanswered.record_failure(1, now - 10, "first")
        unanswered.record_failure(2, now - 5, "younger")
        unanswered.record_failure(1, now - 1, "last")
        assert unanswered.oldest()[1] == "last"
        assert 10 <= unanswered.oldest()[0] < 60
        unanswered.remove(1)
        assert unanswered.oldest()[1] == "younger"


class WatchedStore(MemoryStore):
    """Knows the tokens of the blocks of several rows that have failed."""

    def __init__(self, refuses: RowRule | None = None, *, fails: RowRule | None = None) -> None:
        super().__init__(refuses, fails=fails)
        self.failed: set[str] = set()

    async def insert(self, block: Block) -> Outcome:
        outcome = await super().insert(block)
        if outcome != WRITTEN and len(block) > 1:
            self.failed.add(block.deduplication_token())
        return outcome


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (WatchedStore(refuses=lambda row: row.value == 3), "refused"),
        (WatchedStore(fails=lambda row: row.value == 3), "unclassified"),
    ],
    ids=["refused", "unclassified"],
)
async def test_cut_blocks_are_counted_by_reason_and_single_rows_are_not(store: WatchedStore, reason: str) -> None:
    async with rig(store) as worker:
        assert len(await worker.writer.write(BLOCK)) == 1
        assert value(worker, "splits_total", reason=reason) == len(store.failed) > 0
        assert total(worker, "splits_total") == len(store.failed)


async def test_too_large_blocks_are_counted_as_cut_and_small_ones_are_not() -> None:
    class Small(MemoryStore):
        async def insert(self, block: Block) -> Outcome:
            outcome = await super().insert(block)
            return TOO_LARGE if len(block) > 1_000 else outcome

    async with rig(store := Small()) as worker:
        assert await worker.writer.write(block_of(many_events(3_000), ["a"])) == []
        assert store.inserts == [3_000, 1_500, 1_500, 750, 750, 750, 750]
        assert value(worker, "splits_total", reason="too_large") == 3
        store.down = TOO_LARGE
        small = asyncio.create_task(worker.writer.write(BLOCK))
        await until(lambda: worker.hold.active)
        store.down = None
        assert await small == []
        assert value(worker, "splits_total", reason="too_large") == 3


def test_counters_of_inserts_and_cuts_begin_at_0() -> None:
    telemetry = Telemetry()
    for reason in (OutcomeKind.REFUSED, OutcomeKind.TOO_LARGE, OutcomeKind.UNCLASSIFIED):
        assert telemetry.registry.get_sample_value("metrics_worker_splits_total", {"reason": reason.value}) == 0
    for name in ("inserts", "insert_retries"):
        labels = {"outcome": "written", "code": ""}
        assert telemetry.registry.get_sample_value(f"metrics_worker_{name}_total", labels) == 0


def total(worker: WorkerHarness, name: str) -> float:
    """The sum over all labels."""
    samples = [sample for family in worker.telemetry.registry.collect() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == f"metrics_worker_{name}")


class TestBatches:
    async def test_finished_batch_observes_how_late_each_record_is(self) -> None:
        async with rig() as worker:
            records = [record(event(), offset=0), record(b"{", offset=1), record(event(), offset=2, timestamp=-1)]
            await worker.pipeline.process(records)
            assert value(worker, "batch_seconds_count", outcome="done") == 1
            assert value(worker, "batch_events_sum") == 3
            assert value(worker, "end_to_end_seconds_count") == 2  # the one without a timestamp cannot be late
            assert value(worker, "last_batch_timestamp_seconds") > JANUARY_2026 / 1000

    async def test_dropped_batch_is_measured_and_is_no_progress(self) -> None:
        async with rig() as worker:
            worker.dead_letters.fail_writes(*[None] * 1_000)
            batch = asyncio.create_task(worker.pipeline.process([record(b"{")]))
            for _ in range(100):
                await asyncio.sleep(0)
            batch.cancel()
            await asyncio.gather(batch, return_exceptions=True)
            assert value(worker, "batch_seconds_count", outcome="dropped") == 1
            assert value(worker, "end_to_end_seconds_count") == 0
            assert value(worker, "last_batch_timestamp_seconds") == 0

    async def test_every_metric_is_counted_once_whatever_became_of_it(self) -> None:
        async with rig(MemoryStore(refuses=lambda row: row.metric == "refused")) as worker:
            metrics = {"refused": 1, "good": 2, "bad": float("nan"), "text": "a", "none": None}
            await worker.pipeline.process([record(event(metrics=metrics))])
            assert value(worker, "metrics_total") == 5
            assert value(worker, "rows_written_total") == 1


class TestDeadLetters:
    async def test_pointers_are_counted_as_too_large(self) -> None:
        async with rig() as worker:
            worker.dead_letters.too_large = lambda item: len(item.record.value or b"") > 5  # type: ignore[union-attr]
            worker.dead_letters.fail_writes({1})
            await worker.pipeline.process([record(b"{" * size, offset=size) for size in (3, 10, 20)])
            assert value(worker, "dead_letters_total", kind="event", error_class="too_large") == 2
            assert value(worker, "dead_letters_total", kind="event", error_class="invalid_event") == 1

    async def test_counters_begin_at_0_so_that_the_first_one_is_an_increase(self) -> None:
        samples = Telemetry().dead_letters.collect()
        assert {sample.value for family in samples for sample in family.samples if sample.name.endswith("_total")} == {
            0
        }
