"""The worker's peer in arroyo: Reduce gathers columns, and one INSERT writes a batch.

`python -m tests.benchmarks.peers.arroyo.consumer SERVERS TOPIC GROUP HOST PORT DATABASE TABLE`.
"""

import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from arroyo.backends.kafka import KafkaConsumer, KafkaPayload
from arroyo.backends.kafka.configuration import build_kafka_consumer_configuration
from arroyo.processing.processor import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, ProcessingStrategy, ProcessingStrategyFactory
from arroyo.processing.strategies.reduce import Reduce
from arroyo.processing.strategies.run_task import RunTask
from arroyo.types import BrokerValue, Commit, Message, Partition, Topic
from clickhouse_driver import Client

from tests.benchmarks.peers.columns import COLUMNS, Columns

BATCH_EVENTS = 5_000
BATCH_SECONDS = 0.2


class InsertFactory(ProcessingStrategyFactory[KafkaPayload]):  # type: ignore[misc]  # arroyo is not installed here
    """Builds the steps from message to committed offset."""

    def __init__(self, client: Client, table: str) -> None:
        self._client = client
        self._statement = f"INSERT INTO {table} ({', '.join(COLUMNS)}) VALUES"

    def create_with_partitions(self, commit: Commit, _: Mapping[Partition, int]) -> ProcessingStrategy[KafkaPayload]:
        """Called whenever partitions are assigned."""
        print(f"ready {os.getpid()}", flush=True)  # noqa: T201 - the benchmark waits for it
        insert = RunTask(self._insert, CommitOffsets(commit))
        return Reduce(BATCH_EVENTS, BATCH_SECONDS, accumulate, Columns, insert)

    def _insert(self, message: Message[Columns]) -> None:
        self._client.execute(self._statement, message.payload.lists, columnar=True)


def accumulate(columns: Columns, value: BrokerValue[KafkaPayload]) -> Columns:
    """Add the rows of one message."""
    timestamp = round(value.timestamp.replace(tzinfo=UTC).timestamp() * 1_000)
    columns.add(value.payload.value, value.partition.topic.name, value.partition.index, value.offset, timestamp)
    return columns


def main(servers: str, topic: str, group: str, host: str, port: str, database: str, table: str) -> None:
    configuration = build_kafka_consumer_configuration(
        {"session.timeout.ms": 4_000, "isolation.level": "read_committed"},
        bootstrap_servers=servers.split(","),
        group_id=group,
        auto_offset_reset="earliest",
    )
    processor: StreamProcessor[KafkaPayload] = StreamProcessor(
        KafkaConsumer(configuration), Topic(topic), InsertFactory(Client(host, int(port), database), table)
    )

    def stop(*_: Any) -> None:
        processor.signal_shutdown()

    signal.signal(signal.SIGTERM, stop)
    processor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
