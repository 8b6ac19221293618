"""Names, labels and values of what the worker measures about itself."""

import asyncio
import re

import pytest

from tests.support.events import JANUARY_2026, block_of, event, many_events, record
from tests.support.fakes import TOO_LARGE, UNAVAILABLE, UNCLASSIFIED, MemoryStore
from tests.support.worker_harness import WorkerHarness, open_worker_harness
from worker.core.outcome import Outcome
from worker.observability.lag import PartitionLag
from worker.observability.telemetry import Telemetry

BOUNDED_LABELS = {
    "json_type", "kind", "error_class", "outcome", "code", "reason", "cause", "topic", "partition", "version",
    "python_version", "server",
}  # fmt: skip
"""Each has few values, or one per partition or server of ClickHouse."""
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


def test_retention_is_read_at_each_scrape_and_absent_while_it_is_not_known() -> None:
    telemetry, retention = Telemetry(), [None, 3_600.0]
    lags = [PartitionLag("t", 3, 17, 2.5, log_start=40, retained=60), PartitionLag("t", 4, 17, 2.5)]
    telemetry.set_sources("1", lambda: 0.0, lambda: lags, lambda: ("t", retention.pop(0)))
    assert value(telemetry, "retention_seconds", topic="t") is None
    assert value(telemetry, "retention_seconds", topic="t") == 3_600
    retention.extend([None] * 4)
    assert value(telemetry, "log_start_offset", topic="t", partition="3") == 40
    assert value(telemetry, "retained_records", topic="t", partition="3") == 60
    assert value(telemetry, "log_start_offset", topic="t", partition="4") is None
    assert value(telemetry, "retained_records", topic="t", partition="4") is None


def test_counters_start_at_0_so_that_the_first_increment_is_visible() -> None:
    telemetry = Telemetry()
    for reason in ("refused", "too_large", "unclassified"):
        assert value(telemetry, "splits_total", reason=reason) == 0
    for name in ("inserts_total", "insert_retries_total"):
        assert value(telemetry, name, outcome="written", code="") == 0


async def test_retries_are_counted_with_their_outcome_and_the_age_of_the_first_insert() -> None:
    async with open_worker_harness() as worker:
        worker.store.fail_inserts(UNAVAILABLE, UNAVAILABLE)
        await worker.write(BLOCK)
        assert value(worker.telemetry, "insert_retries_total", outcome="unavailable", code="210") == 1
        assert value(worker.telemetry, "insert_retries_total", outcome="written", code="") == 1
        assert value(worker.telemetry, "insert_retry_age_seconds_count") == 2


@pytest.mark.parametrize("outcome", [UNAVAILABLE, UNCLASSIFIED], ids=lambda outcome: outcome.kind)
async def test_insert_is_unanswered_until_its_rows_are_written(outcome: Outcome) -> None:
    seen: list[tuple[str, float | None, bool]] = []
    async with open_worker_harness() as worker:

        def look() -> None:
            age = value(worker.telemetry, "oldest_unanswered_insert_seconds") or 0
            error = worker.telemetry.unanswered.oldest()[1]
            seen.append((error, value(worker.telemetry, "unanswered_inserts"), age > 0))

        worker.store.fail_inserts(outcome, outcome)
        worker.store.watch = look
        await worker.write(BLOCK)
        assert seen == [("", 0, False), (str(outcome), 1, True), (str(outcome), 1, True)]
        assert value(worker.telemetry, "unanswered_inserts") == len(worker.telemetry.in_flight) == 0
        assert value(worker.telemetry, "oldest_unanswered_insert_seconds") == 0


@pytest.mark.parametrize(
    ("store", "reason", "splits"),
    [
        (MemoryStore(refuses=lambda row: row.value == 3), "refused", 3),  # by metric, and twice in half
        (MemoryStore(fails=lambda row: row.value == 3), "unclassified", 1),  # into single rows
    ],
    ids=["refused", "unclassified"],
)
async def test_split_blocks_are_counted_by_reason(store: MemoryStore, reason: str, splits: int) -> None:
    async with open_worker_harness(store) as worker:
        assert len(await worker.write(BLOCK)) == 1
        assert value(worker.telemetry, "splits_total", reason=reason) == total(worker, "splits_total") == splits


async def test_split_of_a_small_block_that_is_too_large_counts_as_unclassified() -> None:
    async with open_worker_harness() as worker:
        worker.store.fail_inserts(*[TOO_LARGE] * 20)
        assert await worker.write(BLOCK) == []
        assert value(worker.telemetry, "splits_total", reason="unclassified") == total(worker, "splits_total") > 0


async def test_finished_batch_is_measured_with_the_latency_of_each_record() -> None:
    async with open_worker_harness() as worker:
        records = [record(event(), offset=0), record(b"{", offset=1), record(event(), offset=2, timestamp=-1)]
        await worker.pipeline.process(records)
        assert value(worker.telemetry, "batch_seconds_count", outcome="done") == 1
        assert value(worker.telemetry, "batch_events_sum") == 3
        assert value(worker.telemetry, "metrics_total") == 4
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


async def test_dead_letters_written_as_pointers_are_counted_as_too_large() -> None:
    async with open_worker_harness() as worker:
        worker.dead_letters.too_large = lambda item: len(item.record.value or b"") > 5
        worker.dead_letters.fail_writes({1})
        await worker.pipeline.process([record(b"{" * size, offset=size) for size in (3, 10, 20)])
        assert value(worker.telemetry, "dead_letters_total", kind="event", error_class="too_large") == 2
        assert value(worker.telemetry, "dead_letters_total", kind="event", error_class="invalid_event") == 1
