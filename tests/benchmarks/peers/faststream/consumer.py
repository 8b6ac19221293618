"""The worker's peer in FastStream: a batch subscriber with aiokafka, and hand-made columns to clickhouse-driver.

`python -m tests.benchmarks.peers.faststream.consumer SERVERS TOPIC GROUP HOST PORT DATABASE TABLE`.
"""

import asyncio
import os
import sys

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from clickhouse_driver import Client
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from tests.benchmarks.peers.columns import COLUMNS, Columns

Records = tuple[ConsumerRecord, ...]


class _Ready(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    async def on_partitions_assigned(self, _: set[TopicPartition]) -> None:
        print(f"ready {os.getpid()}", flush=True)  # noqa: T201 - the benchmark waits for it

    async def on_partitions_revoked(self, _: set[TopicPartition]) -> None:
        """Nothing to do: offsets are committed after each batch."""


async def keep_records(message: KafkaMessage) -> Records:
    """Decode nothing: the handler needs the offsets too, and FastStream's own decoding costs much more."""
    records: Records = message.raw_message
    return records


async def main(servers: str, topic: str, group: str, host: str, port: str, database: str, table: str) -> None:
    client = Client(host, int(port), database)
    statement = f"INSERT INTO {table} ({', '.join(COLUMNS)}) VALUES"
    # Without validation by pydantic, which is the largest part of the CPU otherwise.
    broker = KafkaBroker(servers, apply_types=False)

    async def insert(records: Records) -> None:
        columns = Columns()
        for record in records:
            columns.add(record.value, record.topic, record.partition, record.offset, record.timestamp)
        await asyncio.to_thread(client.execute, statement, columns.lists, columnar=True)

    subscriber = broker.subscriber(
        topic,
        group_id=group,
        batch=True,
        max_records=5_000,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=4_000,
        ack_policy=AckPolicy.NACK_ON_ERROR,
        listener=_Ready(),
        decoder=keep_records,
    )
    subscriber(insert)
    await FastStream(broker).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
