"""The loop that the worker replaces: one awaited write for each metric, inside one `try` for all metrics of an event.

`python -m tests.benchmarks.peers.original.consumer SERVERS TOPIC GROUP HOST PORT DATABASE TABLE`.
"""

import asyncio
import logging
import os
import sys
from datetime import datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer
from clickhouse_driver import Client

from tests.benchmarks.peers.columns import COLUMNS

logger = logging.getLogger(__name__)


async def main(servers: str, topic: str, group: str, host: str, port: str, database: str, table: str) -> None:
    client = Client(host, int(port), database)
    statement = f"INSERT INTO {table} ({', '.join(COLUMNS)}) VALUES"

    async def write(row: tuple[object, ...]) -> None:
        await asyncio.to_thread(client.execute, statement, [row])

    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=4_000,
    )
    async with consumer:
        while not consumer.assignment():  # noqa: ASYNC110 - the client has no event for it
            await asyncio.sleep(0.02)
        print(f"ready {os.getpid()}", flush=True)  # noqa: T201 - the benchmark waits for it
        async for record in consumer:
            await persist_metrics(record, write)


async def persist_metrics(record: Any, write: Any) -> None:
    """Write the metrics of an event; the first write that fails loses those after it."""
    try:
        document = orjson.loads(record.value)
        of_event = document["execution_id"], document["agent_name"], document.get("user_id"), document.get("labels", {})
        completed_at = datetime.fromisoformat(document["completed_at"])
        of_record = record.timestamp << 64 | record.offset, record.topic, record.partition
        for name, value in document["metrics"].items():
            if isinstance(value, int | float):
                await write((*of_event, name, float(value), completed_at, *of_record))
    except Exception:
        logger.exception("metrics of an execution were not persisted")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
