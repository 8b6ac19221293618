"""A worker with default settings and 1 GiB of memory, and the worst records that Apache Kafka takes by its defaults."""

from __future__ import annotations

import asyncio
from random import Random
from resource import RLIMIT_DATA, prlimit
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.demo.reference import Reading, read_event
from tests.fuzz.amplified import AMPLIFIED
from tests.integration.conftest import count_dead_letters
from tests.kafka.workload import METRICS
from tests.kafka.workload import count_dead_letters as count_written
from tests.support.inflating import CODECS, LARGEST_BYTES, send_headers, send_inflating
from tests.support.local import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.fuzz_record import FuzzRecord
    from tests.integration.conftest import StartWorker
    from tests.kafka.workload import Workload

_LIMIT_BYTES = 1024**3
"""Of RLIMIT_DATA: all private memory that the process may write, touched or not, stacks of threads included; so it is
stricter than a limit of resident memory. RLIMIT_AS also counts the 64 MiB of addresses that glibc reserves for each
arena and hardly uses; a cgroup needs rights that a test has not."""
_MAX_PEAK_BYTES = 400_000_000


async def _send(workload: Workload, records: Sequence[FuzzRecord], codec: str | None) -> list[Reading]:
    """Send records, and return what the contract says of them."""
    options = {"bootstrap_servers": workload.servers, "acks": "all", "compression_type": codec}
    async with AIOKafkaProducer(**options) as producer:
        for number, record in enumerate(records):
            await producer.send_and_wait(
                workload.topic,
                record.value,
                record.key,
                partition=number % 4,
                timestamp_ms=record.timestamp,
                headers=list(record.headers),
            )
    return [read_event(record.value or b"", record.headers, record.timestamp, {}) for record in records]


@pytest.mark.timeout(240)
async def test_worst_records_cost_their_dead_letters_and_nothing_else_in_one_gibibyte(
    start_worker: StartWorker, workload: Workload, environment: dict[str, str]
) -> None:
    await workload.send(40)
    readings = []
    random = Random(20261128)
    readings += await _send(workload, [make(random) for make in AMPLIFIED], None)
    for first, codec in enumerate(CODECS):
        readings += await _send(workload, [make(random) for make in AMPLIFIED[first :: len(CODECS)]], codec)
    for number, size in LARGEST_BYTES.items():
        await send_inflating(workload.servers, workload.topic, 0, number, size)
        await send_headers(workload.servers, workload.topic, 1, 16_000_000)
    await workload.send(40)
    unreadable = 2 * len(LARGEST_BYTES)
    records = workload.sent + len(readings) + unreadable
    rows = METRICS * workload.sent + sum(len(reading.rows) for reading in readings)
    dead = unreadable + sum(len(reading.refused) if reading.owner else 1 for reading in readings)

    worker = start_worker(KAFKA_SESSION_TIMEOUT_SECONDS="45")
    prlimit(worker.pid, RLIMIT_DATA, (_LIMIT_BYTES, _LIMIT_BYTES))
    wait_until(
        lambda: workload.count_table() >= rows and count_written(worker) >= dead,
        f"{rows} rows and {dead} dead letters",
        180,
    )
    async with asyncio.timeout(15):
        while await workload.count_committed() < records:  # noqa: ASYNC110 - the broker must be polled
            await asyncio.sleep(0.1)
    assert (workload.count_view(), await count_dead_letters(environment)) == (rows, dead)
    assert worker.process.running
    assert not worker.readiness()
    assert "Traceback" not in worker.process.output()
    assert worker.peak_memory_bytes() < _MAX_PEAK_BYTES
