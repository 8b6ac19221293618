"""Names, labels and values of what the worker measures about itself."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from tests.support.events import JANUARY_2026, block_of, event, many_events, record
from tests.support.fakes import MemoryStore, unavailable
from tests.support.rig import Rig, rig
from worker.errors import StoreError
from worker.instruments import ManyHistogram
from worker.telemetry import PartitionLag, Telemetry
from worker.writing.repeats import Repeats

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
    telemetry.running("1", lambda: 0.0, lambda: [PartitionLag("t", 0, 1, 2.0)])
    shown = {label for family in telemetry.registry.collect() for sample in family.samples for label in sample.labels}
    assert named | shown - {"le"} <= LABELS


def test_lag_is_asked_for_at_each_scrape() -> None:
    telemetry, behind = Telemetry(), [PartitionLag("t", 3, 17, 2.5)]
    telemetry.running("1", lambda: 0.0, lambda: behind)
    labels = {"topic": "t", "partition": "3"}
    assert telemetry.registry.get_sample_value("metrics_worker_lag_records", labels) == 17
    assert telemetry.registry.get_sample_value("metrics_worker_lag_seconds", labels) == 2.5
    behind.clear()
    assert telemetry.registry.get_sample_value("metrics_worker_lag_records", labels) is None


@given(st.lists(st.lists(st.floats(0, 20))))
def test_many_values_at_once_are_the_same_histogram(batches: list[list[float]]) -> None:
    one_by_one, at_once = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("h", "H.", buckets=BOUNDS, registry=one_by_one)
    many = ManyHistogram("h", "H.", BOUNDS, at_once)
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
    many = ManyHistogram("h", "H.", BOUNDS, registry)
    many.observe_all([2.0])
    many.observe_all([-100.0, 0.25])
    assert registry.get_sample_value("h_sum") == 2.25
    assert registry.get_sample_value("h_bucket", {"le": "0.5"}) == 2


BLOCK = block_of(many_events(4), ["a", "b"])


def value(worker: Rig, name: str, **labels: str) -> float:
    return worker.telemetry.registry.get_sample_value(f"metrics_worker_{name}", labels) or 0.0


class TestInsertsThatAreRepeated:
    async def test_are_counted_with_their_outcome_and_the_age_of_the_first(self) -> None:
        async with rig() as worker:
            worker.store.fail_inserts(unavailable, unavailable)
            await worker.writer.write(BLOCK)
            code = str(unavailable().code or "")
            assert value(worker, "insert_retries_total", outcome="StoreUnavailable", code=code) == 1
            assert value(worker, "insert_retries_total", outcome="ok", code="") == 1
            assert value(worker, "insert_retry_age_seconds_count") == 2

    async def test_are_unanswered_until_they_are_answered(self) -> None:
        seen: list[tuple[float, bool]] = []
        async with rig() as worker:
            worker.store.fail_inserts(unavailable)
            worker.store.watch = lambda: seen.append(
                (value(worker, "unanswered_inserts"), value(worker, "oldest_unanswered_insert_seconds") > 0)
            )
            await worker.writer.write(BLOCK)
            assert seen == [(0, False), (1, True)]
            assert value(worker, "unanswered_inserts") == 0
            assert value(worker, "oldest_unanswered_insert_seconds") == 0

    async def test_are_unanswered_no_longer_when_they_are_given_up(self) -> None:
        async with rig() as worker:
            worker.store.down = unavailable
            assert len(await worker.writer.write(BLOCK)) == len(BLOCK)
            assert value(worker, "unanswered_inserts") == 0

    def test_are_no_mistake_when_a_revoke_ends_them(self) -> None:
        telemetry = Telemetry()
        with Repeats(telemetry, divisible=True) as repeats:
            with pytest.raises(StoreError), repeats.attempt():
                raise unavailable()
            with pytest.raises(asyncio.CancelledError), repeats.attempt():
                raise asyncio.CancelledError
        repeated = {"outcome": "dropped", "code": ""}
        assert telemetry.registry.get_sample_value("metrics_worker_insert_retries_total", repeated) == 1
        assert len(telemetry.unanswered) == 0


async def test_cutting_a_block_is_counted_by_its_reason_and_a_single_row_is_none() -> None:
    async with rig(MemoryStore(refuses=lambda row: row.value == 3)) as worker:
        await worker.writer.write(BLOCK)
        cuts = value(worker, "splits_total", reason="refused")
        assert cuts == len([rows for rows in worker.store.inserts if rows > 1]) - _accepted(worker, more_than=1)
        assert cuts > 0


def _accepted(worker: Rig, more_than: int) -> int:
    return sum(1 for block in worker.store._acknowledged_blocks.values() if len(block) > more_than)


class TestBatches:
    async def test_that_are_done_tell_how_late_each_record_is(self) -> None:
        async with rig() as worker:
            records = [record(event(), offset=0), record(b"{", offset=1), record(event(), offset=2, timestamp=-1)]
            await worker.pipeline.process(records)
            assert value(worker, "batch_seconds_count", outcome="done") == 1
            assert value(worker, "batch_events_sum") == 3
            assert value(worker, "end_to_end_seconds_count") == 2  # the one without a timestamp cannot be late
            assert value(worker, "last_batch_timestamp_seconds") > JANUARY_2026 / 1000

    async def test_that_are_dropped_are_measured_and_are_no_progress(self) -> None:
        async with rig() as worker:
            worker.dead_letters.fail_puts(*[None] * 1_000)
            batch = asyncio.create_task(worker.pipeline.process([record(b"{")]))
            for _ in range(100):
                await asyncio.sleep(0)
            batch.cancel()
            await asyncio.gather(batch, return_exceptions=True)
            assert value(worker, "batch_seconds_count", outcome="dropped") == 1
            assert value(worker, "end_to_end_seconds_count") == 0
            assert value(worker, "last_batch_timestamp_seconds") == 0

    async def test_every_metric_is_counted_once_whatever_became_of_it(self) -> None:
        async with rig(MemoryStore(refuses=lambda row: row.metric == "guilty")) as worker:
            metrics = {"guilty": 1, "good": 2, "bad": float("nan"), "text": "a", "none": None}
            await worker.pipeline.process([record(event(metrics=metrics))])
            assert value(worker, "metrics_total") == 5
            assert value(worker, "rows_written_total") == 1


class TestDeadLetters:
    async def test_that_do_not_fit_are_counted_as_too_large(self) -> None:
        async with rig() as worker:
            worker.dead_letters.too_large = lambda item: len(item.record.value or b"") > 5  # type: ignore[union-attr]
            worker.dead_letters.fail_puts({1})
            await worker.pipeline.process([record(b"{" * size, offset=size) for size in (3, 10, 20)])
            assert value(worker, "dead_letters_total", kind="event", error_class="too_large") == 2
            assert value(worker, "dead_letters_total", kind="event", error_class="invalid_event") == 1

    async def test_begin_at_nought_so_that_the_first_one_is_an_increase(self) -> None:
        samples = Telemetry().dead_letters.collect()
        assert {sample.value for family in samples for sample in family.samples if sample.name.endswith("_total")} == {
            0
        }
