"""What the worker is compared with: the loop that it replaces, and a simple batching consumer.

`python -m tests.benchmarks.baselines NAME SERVERS TOPIC EVENTS HOST PORT DATABASE TABLE` prints one JSON object. They
do not dead-letter, isolate, retry, or handle a rebalance, so the difference is the cost of the promises.
"""

import asyncio
import sys
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from aiokafka import AIOKafkaConsumer
from clickhouse_driver import Client

COLUMNS = "execution_id, agent_name, user_id, metric_type, metric_value, completed_at, version"


async def insert_each_metric(consumer: AIOKafkaConsumer, client: Client, table: str, count: int) -> int:
    """One INSERT for each metric, awaited, as the original did."""
    rows = 0
    for _ in range(count):
        record = await consumer.getone()
        for row in _rows(record):
            await asyncio.to_thread(client.execute, f"INSERT INTO {table} ({COLUMNS}) VALUES", [row])
            rows += 1
    await consumer.commit()
    return rows


async def insert_batches(consumer: AIOKafkaConsumer, client: Client, table: str, count: int) -> int:
    """Gather 5,000 events, insert their rows, commit, and again."""
    rows = consumed = 0
    while consumed < count:
        batch: list[tuple[object, ...]] = []
        gathered = 0
        while gathered < 5_000 and consumed + gathered < count:
            for records in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
                for record in records:
                    batch += _rows(record)
                gathered += len(records)
        await asyncio.to_thread(client.execute, f"INSERT INTO {table} ({COLUMNS}) VALUES", batch)
        await consumer.commit()
        consumed += gathered
        rows += len(batch)
    return rows


def _rows(record: Any) -> list[tuple[object, ...]]:
    document = orjson.loads(record.value)
    shared = UUID(document["execution_id"]), document["agent_name"], document.get("user_id")
    times = datetime.fromisoformat(document["completed_at"]), record.timestamp << 64 | record.offset
    return [(*shared, name, float(value), *times) for name, value in document["metrics"].items()]


async def main(
    name: str, servers: str, topic: str, count: int, host: str, port: int, database: str, table: str
) -> None:
    loop = {"naive": insert_each_metric, "batching": insert_batches}[name]
    group = f"{name}-{table}"
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=4_000,
    )
    async with consumer:
        with Client(host, port, database) as client:
            while not consumer.assignment():  # noqa: ASYNC110 - the client has no event for it
                await asyncio.sleep(0.02)
            before, began = time.process_time(), time.perf_counter()
            rows = await loop(consumer, client, table, count)
            seconds, cpu = time.perf_counter() - began, time.process_time() - before
    figures = {
        "events": count,
        "rows": rows,
        "events_per_second": round(count / seconds, 1),
        "rows_per_second": round(rows / seconds),
        "cpu_us_per_event": round(cpu / count * 1e6, 2),
    }
    sys.stdout.buffer.write(orjson.dumps(figures))


if __name__ == "__main__":
    name_, servers_, topic_, count_, host_, port_, database_, table_ = sys.argv[1:]
    asyncio.run(main(name_, servers_, topic_, int(count_), host_, int(port_), database_, table_))
