"""Names, labels and values of what the worker measures about itself."""

import asyncio
import re

import pytest

from tests.support.clock import until
from tests.support.events import JANUARY_2026, block_of, event, many_events, record
from tests.support.fakes import TOO_LARGE, UNAVAILABLE, MemoryStore, RowRule
from tests.support.worker_harness import WorkerHarness, open_worker_harness
from worker.core.outcome import WRITTEN, Outcome
from worker.events.block import Block
from worker.observability.lag import PartitionLag
from worker.observability.telemetry import Telemetry

BOUNDED_LABELS = {
    "json_type", "kind", "error_class", "outcome", "code", "reason", "cause", "topic", "partition", "version",
    "python_version",
}  # fmt: skip
"""Each has few values, or one per partition."""
BLOCK = block_of(many_events(4), ["a", "b"])


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(f"metrics_worker_{name}", labels)


def total(worker: WorkerHarness, name: str) -> float:
    """The sum over all labels."""
    samples = [sample for family in worker.telemetry.registry.collect() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == f"metrics_worker_{name}")


def test_every_name_follows_the_conventions_and_has_documentation() -> None:
    for family in Telemetry().registry.collect():
        assert re.fullmatch(r"(metrics_worker|process)_[a-z_]+[a-z]", family.name)
        assert not family.name.endswith("_total"), "prometheus_client adds it"
        assert re.fullmatch(r".{10,}\.", family.documentation.strip()), family.name


def test_no_label_is_unbounded() -> None:
    telemetry = Telemetry()
    declared = {label for one in vars(telemetry).values() for label in getattr(one, "_labelnames", ())}
    telemetry.set_sources("1", lambda: 0.0, lambda: [PartitionLag("t", 0, 1, 2.0)])
    samples = [sample for family in telemetry.registry.collect() for sample in family.samples]
    exported = {label for sample in samples for label in sample.labels}
    assert declared | exported - {"le"} <= BOUNDED_LABELS


def test_lag_is_read_at_each_scrape() -> None:
    telemetry, lags = Telemetry(), [PartitionLag("t", 3, 17, 2.5)]
    telemetry.set_sources("1", lambda: 0.0, lambda: lags)
    assert value(telemetry, "lag_records", topic="t", partition="3") == 17
    assert value(telemetry, "lag_seconds", topic="t", partition="3") == 2.5
    lags.clear()
    assert value(telemetry, "lag_records", topic="t", partition="3") is None


def test_counters_start_at_0_so_that_the_first_increment_is_visible() -> None:
    telemetry = Telemetry()
    for reason in ("refused", "too_large", "unclassified"):
        assert value(telemetry, "splits_total", reason=reason) == 0
    for name in ("inserts_total", "insert_retries_total"):
        assert value(telemetry, name, outcome="written", code="") == 0
    for kind, error_class in (("event", "invalid_event"), ("metric", "row_refused")):
        assert value(telemetry, "dead_letters_total", kind=kind, error_class=error_class) == 0


async def test_retries_are_counted_with_their_outcome_and_the_age_of_the_first_insert() -> None:
    async with open_worker_harness() as worker:
        worker.store.fail_inserts(UNAVAILABLE, UNAVAILABLE)
        await worker.writer.write(BLOCK)
        assert value(worker.telemetry, "insert_retries_total", outcome="unavailable", code="210") == 1
        assert value(worker.telemetry, "insert_retries_total", outcome="written", code="") == 1
        assert value(worker.telemetry, "insert_retry_age_seconds_count") == 2


async def test_insert_is_unanswered_until_it_is_answered() -> None:
    seen: list[tuple[float | None, bool]] = []
    async with open_worker_harness() as worker:
        worker.store.fail_inserts(UNAVAILABLE)
        worker.store.watch = lambda: seen.append(
            (
                value(worker.telemetry, "unanswered_inserts"),
                value(worker.telemetry, "oldest_unanswered_insert_seconds") != 0,
            )
        )
        await worker.writer.write(BLOCK)
        assert seen == [(0, False), (1, True)]
        assert value(worker.telemetry, "unanswered_inserts") == 0
        assert value(worker.telemetry, "oldest_unanswered_insert_seconds") == 0


async def test_abandoned_insert_is_no_longer_unanswered() -> None:
    async with open_worker_harness() as worker:
        worker.store.down = UNAVAILABLE
        assert len(await worker.writer.write(BLOCK)) == len(BLOCK)
        assert value(worker.telemetry, "unanswered_inserts") == 0


class RecordingStore(MemoryStore):
    """Records the tokens of the blocks of several rows that have failed."""

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
        (RecordingStore(refuses=lambda row: row.value == 3), "refused"),
        (RecordingStore(fails=lambda row: row.value == 3), "unclassified"),
    ],
    ids=["refused", "unclassified"],
)
async def test_split_blocks_are_counted_by_reason(store: RecordingStore, reason: str) -> None:
    async with open_worker_harness(store) as worker:
        assert len(await worker.writer.write(BLOCK)) == 1
        assert value(worker.telemetry, "splits_total", reason=reason) == len(store.failed) > 0
        assert total(worker, "splits_total") == len(store.failed), "single rows are not split"


async def test_blocks_that_are_too_large_are_counted_as_split_but_small_ones_are_not() -> None:
    class SmallBlockStore(MemoryStore):
        async def insert(self, block: Block) -> Outcome:
            outcome = await super().insert(block)
            return TOO_LARGE if len(block) > 1_000 else outcome

    async with open_worker_harness(store := SmallBlockStore()) as worker:
        assert await worker.writer.write(block_of(many_events(3_000), ["a"])) == []
        assert store.inserts == [3_000, 1_500, 1_500, 750, 750, 750, 750]
        assert value(worker.telemetry, "splits_total", reason="too_large") == 3
        store.down = TOO_LARGE
        small = asyncio.create_task(worker.writer.write(BLOCK))
        await until(lambda: worker.hold.active)
        store.down = None
        assert await small == []
        assert value(worker.telemetry, "splits_total", reason="too_large") == 3


async def test_finished_batch_is_measured_with_the_latency_of_each_record() -> None:
    async with open_worker_harness() as worker:
        records = [record(event(), offset=0), record(b"{", offset=1), record(event(), offset=2, timestamp=-1)]
        await worker.pipeline.process(records)
        assert value(worker.telemetry, "batch_seconds_count", outcome="done") == 1
        assert value(worker.telemetry, "batch_events_sum") == 3
        assert value(worker.telemetry, "end_to_end_seconds_count") == 2, "a record without a timestamp has no latency"
        assert (value(worker.telemetry, "last_batch_timestamp_seconds") or 0) > JANUARY_2026 / 1000


async def test_dropped_batch_is_measured_but_is_no_progress() -> None:
    async with open_worker_harness() as worker:
        worker.dead_letters.fail_writes(*[None] * 1_000)
        batch = asyncio.create_task(worker.pipeline.process([record(b"{")]))
        for _ in range(100):
            await asyncio.sleep(0)
        batch.cancel()
        await asyncio.gather(batch, return_exceptions=True)
        assert value(worker.telemetry, "batch_seconds_count", outcome="dropped") == 1
        assert value(worker.telemetry, "end_to_end_seconds_count") == 0
        assert value(worker.telemetry, "last_batch_timestamp_seconds") == 0


async def test_every_metric_is_counted_once() -> None:
    async with open_worker_harness(MemoryStore(refuses=lambda row: row.metric == "refused")) as worker:
        metrics = {"refused": 1, "good": 2, "bad": float("nan"), "text": "a", "none": None}
        await worker.pipeline.process([record(event(metrics=metrics))])
        assert value(worker.telemetry, "metrics_total") == 5
        assert value(worker.telemetry, "rows_written_total") == 1


async def test_dead_letters_written_as_pointers_are_counted_as_too_large() -> None:
    async with open_worker_harness() as worker:
        worker.dead_letters.too_large = lambda item: len(item.record.value or b"") > 5
        worker.dead_letters.fail_writes({1})
        await worker.pipeline.process([record(b"{" * size, offset=size) for size in (3, 10, 20)])
        assert value(worker.telemetry, "dead_letters_total", kind="event", error_class="too_large") == 2
        assert value(worker.telemetry, "dead_letters_total", kind="event", error_class="invalid_event") == 1
