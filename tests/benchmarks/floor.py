"""The floor: the CPU of fetching, parsing and encoding alone, each with the worker's own libraries.

`python -m tests.benchmarks.floor SERVERS TOPIC EVENTS` prints one JSON object: CPU µs per event of this process. A
worker that hands the driver whole columns cannot cost less than the sum of the three.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from time import process_time
from types import SimpleNamespace
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from clickhouse_driver.bufferedwriter import CompressedBufferedWriter
from clickhouse_driver.columns.service import write_column

from worker.clickhouse.encoding import ENCODERS
from worker.core.model import Record
from worker.core.process import relax_garbage_collection
from worker.events.block import COLUMNS
from worker.events.fan_out import FanOut

TYPES = [ENCODERS[name][0] for name in COLUMNS]
"""The types of `COLUMNS` in the table."""
_BATCH = 5_000
_KEPT = 50_000
"""Number of records that are parsed and encoded; the CPU per record does not depend on it."""


async def measure_floor(servers: str, topic: str, count: int) -> dict[str, float]:
    """CPU µs per event of each part, and their sum."""
    kept: list[Record] = []
    fetch = await _fetch(servers, topic, count, kept) / count
    parse = _measure_cpu(lambda: _parse(kept)) / len(kept)
    encode = sum(map(_encode, _batches(kept))) / len(kept)
    parts = {"fetch": fetch, "parse": parse, "encode": encode, "floor": fetch + parse + encode}
    return {f"{name}_us_per_event": round(seconds * 1e6, 2) for name, seconds in parts.items()}


async def _fetch(servers: str, topic: str, count: int, kept: list[Record]) -> float:
    """Read the topic with the worker's requests, and nothing else."""
    async with AIOKafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed") as consumer:
        partitions = [TopicPartition(topic, number) for number in await _partitions(consumer, topic)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        before, fetched = process_time(), 0
        while fetched < count:
            for records in (await consumer.getmany(timeout_ms=1_000, max_records=500)).values():
                fetched += len(records)
                if len(kept) < _KEPT:
                    kept += records
        return process_time() - before


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    while not (found := consumer.partitions_for_topic(topic)):
        await consumer.topics()
    return set(found)


def _parse(records: Sequence[Record]) -> None:
    for record in records:
        orjson.loads(record.value or b"null")


def _batches(records: Sequence[Record]) -> list[list[Any]]:
    batches = []
    for start in range(0, len(records), _BATCH):
        fan_out = FanOut()
        for record in records[start : start + _BATCH]:
            fan_out.add_record(record)
        batches += [block.columns() for block in fan_out.blocks.values()]
    return batches


def _encode(columns: list[Any]) -> float:
    """CPU seconds of the driver from lists of values to bytes, which are not sent."""
    sink = CompressedBufferedWriter(SimpleNamespace(write=lambda _: None), 1 << 20)
    settings = {"strings_as_bytes": False, "strings_encoding": "utf-8", "use_numpy": False}
    context = SimpleNamespace(client_settings=settings, settings={}, server_info=SimpleNamespace())
    columns = [list(column) for column in columns]  # the driver copies at its own cost; these copies are not

    def encode() -> None:
        for name, items in zip(TYPES, columns, strict=True):
            write_column(context, name, name, items, sink)

    return _measure_cpu(encode)


def _measure_cpu(work: Callable[[], object]) -> float:
    before = process_time()
    work()
    return process_time() - before


if __name__ == "__main__":
    relax_garbage_collection()
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(measure_floor(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
