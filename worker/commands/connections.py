"""Connects the commands that read or settle dead letters to Kafka.

Each function raises DependencyError if it cannot be reached, or is not prepared.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from worker.core.errors import DependencyError
from worker.core.process import relax_garbage_collection, return_large_buffers
from worker.core.version import VERSION
from worker.dead_letters.settlement import Settlement
from worker.kafka.settlement_sink import KafkaSettlementSink
from worker.kafka.topic_producer import TopicProducer, open_producer
from worker.kafka.topic_reader import KafkaTopicReader
from worker.replay.journal import Journal
from worker.replay.scan import DeadLetterScan, OnSettlement
from worker.settings.fields import Settings
from worker.settings.targets import kafka_target

GC_THRESHOLD = 1_000_000
"""New objects between two garbage collections. A dead letter is about forty short-lived objects, most of them headers;
with the threshold of the worker, collecting cycles took a third of the CPU of reading it."""


@asynccontextmanager
async def open_reader(reader: KafkaTopicReader) -> AsyncIterator[KafkaTopicReader]:
    """Connect `reader`."""
    await reader.start()
    try:
        yield reader
    finally:
        await reader.close()


@asynccontextmanager
async def open_dead_letters(
    settings: Settings, partition: int | None = None, on_settlement: OnSettlement = lambda *_: None
) -> AsyncIterator[DeadLetterScan]:
    """Connect to the dead-letter topic, and read its settlements; `on_settlement` is called with each.

    Raises UsageError if the topic lacks `partition`.
    """
    relax_garbage_collection(GC_THRESHOLD)
    return_large_buffers()
    async with open_reader(KafkaTopicReader(kafka_target(settings), settings.kafka_dlq_topic)) as reader:
        scan = await DeadLetterScan.begin(reader, on_settlement)
        if partition is not None and partition not in scan.offset_ranges:
            count = len(scan.offset_ranges)
            raise click.UsageError(f"the dead-letter topic has no partition {partition}; it has {count}")
        yield scan


@asynccontextmanager
async def open_journal(settings: Settings, entry: Settlement) -> AsyncIterator[Journal]:
    """Connect to the dead-letter topic, to append settlements like `entry` to it."""
    idempotent = settings.kafka_producer_idempotence
    async with open_producer(kafka_target(settings), settings.kafka_dlq_topic, idempotent=idempotent) as producer:
        if problem := await producer.find_compaction_problem():
            raise DependencyError(problem)
        yield create_journal(settings, producer, entry)


def create_journal(settings: Settings, producer: TopicProducer, entry: Settlement) -> Journal:
    """The journal of an operation whose settlements are like `entry`."""
    return Journal(KafkaSettlementSink(producer, VERSION, settings.kafka_dlq_timeout_seconds), entry)
