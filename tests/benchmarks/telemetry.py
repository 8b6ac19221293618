"""The CPU that telemetry costs: `python -m tests.benchmarks.telemetry`.

The same batch goes through the worker's pipeline many times, and then through its telemetry alone, in one process. The
minimum of each counts, because other load can only add to it. Rows become columns and are discarded, and there is no
Kafka, so that the share is larger than in a whole worker, which also fetches, encodes and sends.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from time import process_time, time
from uuid import UUID

from prometheus_client import generate_latest

from tests.support.events import Record, encoded, event
from worker.core.hold import Hold
from worker.core.outcome import WRITTEN, Outcome
from worker.core.process import relax_garbage_collection
from worker.core.retry import RetryPolicy
from worker.events.block import Block
from worker.observability.telemetry import Telemetry
from worker.pipeline import Pipeline
from worker.ports import NullDeadLetterSink, NullStore
from worker.writing.writer import Writer

_ROUNDS = 40
_BATCH = 5_000
_METRICS = {f"metric_{number}": number * 1.5 for number in range(10)}
_SCRAPE_EVERY_SECONDS = 15


class _EncodingStore(NullStore):
    """Does the work of an insert before the driver: columns and token."""

    async def insert(self, block: Block) -> Outcome:
        block.columns()
        block.deduplication_token()
        return WRITTEN


def _build_pipeline(telemetry: Telemetry) -> Pipeline:
    store, hold = _EncodingStore(), Hold()
    writer = Writer(store, hold, RetryPolicy(), telemetry=telemetry)
    return Pipeline(writer, NullDeadLetterSink(), hold, telemetry)


def _build_records() -> list[Record]:
    now = int(time() * 1000)
    return [
        Record(
            encoded(event(execution_id=str(UUID(int=number)), metrics=_METRICS)),
            offset=number,
            timestamp=now - 2_000 + number // 10,
        )
        for number in range(_BATCH)
    ]


async def measure() -> dict[str, float]:
    """CPU per event in microseconds, of the whole pipeline and of telemetry alone; its share, and that of scrapes."""
    records, telemetry = _build_records(), Telemetry()
    pipeline = _build_pipeline(telemetry)
    whole = [await _time_batch(pipeline, records) for _ in range(_ROUNDS)]
    alone = [_time_telemetry(telemetry, records) for _ in range(_ROUNDS)]
    scrapes = [_time_scrape(telemetry) for _ in range(_ROUNDS)]
    return {
        "pipeline_microseconds": round(min(whole), 3),
        "telemetry_microseconds": round(min(alone), 3),
        "telemetry_percent": round(min(alone) / min(whole) * 100, 2),
        "scrape_milliseconds": round(min(scrapes) * 1000, 2),
        "scrapes_percent_of_a_core": round(min(scrapes) / _SCRAPE_EVERY_SECONDS * 100, 3),
    }


async def _time_batch(pipeline: Pipeline, records: Sequence[Record]) -> float:
    began = process_time()
    await pipeline.process(records)
    return (process_time() - began) / len(records) * 1e6


def _time_telemetry(telemetry: Telemetry, records: Sequence[Record]) -> float:
    """The telemetry of a batch without failures, with one INSERT."""
    began = process_time()
    with telemetry.measure_batch(records):
        telemetry.in_flight.record(1, began, "no answer yet")
        telemetry.insert_rows.observe(len(records) * len(_METRICS))
        telemetry.insert_seconds.observe(0.1)
        telemetry.inserts.labels("written", "").inc()
        telemetry.in_flight.remove(1)
        telemetry.count_events(len(records), len(records) * 10, len(records) * 10, {}, 0)
    return (process_time() - began) / len(records) * 1e6


def _time_scrape(telemetry: Telemetry) -> float:
    began = process_time()
    generate_latest(telemetry.registry)
    return process_time() - began


if __name__ == "__main__":
    relax_garbage_collection()
    sys.stdout.write(json.dumps(asyncio.run(measure())) + "\n")
