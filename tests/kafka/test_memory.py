"""What hostile records cost the worker in memory, as a process with its default settings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.integration.conftest import count_dead_letters, read_dead_letters
from tests.support.events import encoded, event
from tests.support.inflating import LARGEST_BYTES, SNAPPY, ZSTD, send_headers, send_inflating
from tests.support.local import wait_until
from tests.support.topic import send

if TYPE_CHECKING:
    from tests.integration.conftest import StartWorker
    from tests.kafka.workload import Workload

_MAX_PEAK_BYTES = 400_000_000
_MIB = 1024 * 1024


async def write_dead_letters(
    start_worker: StartWorker, workload: Workload, environment: dict[str, str], dead: int
) -> int:
    """Let a worker process the topic: all valid events and so many dead letters. Returns its peak memory in bytes."""
    await workload.send(40)
    worker = start_worker()
    workload.wait_until_written()
    wait_until(
        lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) >= dead,
        f"{dead} dead letters",
        60,
    )
    await workload.send(40)
    workload.wait_until_written()
    peak = worker.peak_memory_bytes()
    assert await count_dead_letters(environment) == dead
    return peak


@pytest.mark.parametrize("codec", LARGEST_BYTES, ids=["gzip", "snappy", "lz4", "zstd"])
async def test_record_of_spaces_costs_one_dead_letter_and_little_memory(
    start_worker: StartWorker, workload: Workload, environment: dict[str, str], codec: int
) -> None:
    await workload.send(40)
    for partition in range(4):
        await send_inflating(workload.servers, workload.topic, partition, codec, LARGEST_BYTES[codec])
    peak = await write_dead_letters(start_worker, workload, environment, 4)
    letters = await read_dead_letters(environment, 4)
    types = {dict(letter.headers)["dlq.error.type"] for letter in letters}
    assert types == ({b"TooLarge"} if codec == SNAPPY else {b"UnreadableBatch"})
    assert peak < _MAX_PEAK_BYTES


@pytest.mark.parametrize("size", [31 * _MIB, 15 * _MIB])
async def test_many_records_below_the_bound_fit_in_memory(
    start_worker: StartWorker, workload: Workload, environment: dict[str, str], size: int
) -> None:
    for number in range(20):
        await send_inflating(workload.servers, workload.topic, number % 4, ZSTD, size)
    assert await write_dead_letters(start_worker, workload, environment, 20) < _MAX_PEAK_BYTES


@pytest.mark.parametrize(("headers", "count"), [(16_000_000, 4), (520_000, 20)])
async def test_headers_fit_in_memory(
    start_worker: StartWorker, workload: Workload, environment: dict[str, str], headers: int, count: int
) -> None:
    """Of 520,000 headers the record batch is small enough to be read; its value is empty, which is no event."""
    for number in range(count):
        await send_headers(workload.servers, workload.topic, number % 4, headers)
    assert await write_dead_letters(start_worker, workload, environment, count) < _MAX_PEAK_BYTES


async def test_arrays_of_a_megabyte_fit_in_memory(
    start_worker: StartWorker, workload: Workload, environment: dict[str, str]
) -> None:
    def arrays(count: int) -> bytes:
        fields = event(execution_id=str(uuid4()), metrics={"x": 1})
        return encoded(fields).replace(b'"x": 1', b'"x":1,"y":[' + b",".join([b"[]"] * count) + b"]")

    values = [arrays(330_000) for _ in range(80)]
    affordable = [arrays(120_000) for _ in range(80)]
    await send(workload.servers, workload.topic, [*values, *affordable], compression_type="zstd")
    peak = await write_dead_letters(start_worker, workload, environment, len(values))
    wait_until(lambda: workload.count_view() == 2 * 80 + len(affordable), "one metric of each affordable event")
    assert peak < _MAX_PEAK_BYTES
