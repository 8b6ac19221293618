"""Connects the commands that read or replay dead letters to Kafka and ClickHouse.

Each function raises DependencyError if one of them cannot be reached, or is not prepared.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import click

from worker.app import VERSION, open_outputs
from worker.clickhouse.table_constraints import ClickHouseConstraints
from worker.core.errors import DependencyError
from worker.core.outcome import OutcomeKind
from worker.core.process import relax_garbage_collection, return_large_buffers
from worker.dead_letters.settlement import Settlement
from worker.kafka.settlement_sink import KafkaSettlementSink
from worker.kafka.source_records import KafkaSourceRecordFetcher
from worker.kafka.topic_producer import TopicProducer, open_producer
from worker.kafka.topic_reader import KafkaTopicReader
from worker.observability.failure_log import FailureLog
from worker.observability.telemetry import Telemetry
from worker.pipeline import Pipeline
from worker.replay.edit_preview import EditPreview
from worker.replay.event_editor import EventEditor
from worker.replay.journal import Journal
from worker.replay.plan import ReplayPolicy
from worker.replay.replayer import Replayer
from worker.replay.scan import DeadLetterScan, OnSettlement
from worker.replay.stop_conditions import WatchedHold
from worker.settings.fields import Settings
from worker.settings.targets import clickhouse_target, kafka_target
from worker.writing.writer import OnUnavailable, Writer

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
        yield _journal(settings, producer, entry)


def _journal(settings: Settings, producer: TopicProducer, entry: Settlement) -> Journal:
    return Journal(KafkaSettlementSink(producer, VERSION, settings.kafka_dlq_timeout_seconds), entry)


@asynccontextmanager
async def open_edit_preview(
    settings: Settings, policy: ReplayPolicy, editor: EventEditor
) -> AsyncIterator[EditPreview]:
    """Build the preview of an edit."""
    constraints = ClickHouseConstraints(clickhouse_target(settings))
    sources = KafkaSourceRecordFetcher(kafka_target(settings))
    try:
        yield EditPreview(policy, editor, sources, constraints)
    finally:
        constraints.close()
        await sources.close()


@asynccontextmanager
async def open_replay(
    settings: Settings,
    scan: DeadLetterScan,
    policy: ReplayPolicy,
    entry: Settlement,
    editor: EventEditor | None,
    *,
    on_progress: Callable[[int], object],
    on_finishing: Callable[[float], object],
) -> AsyncIterator[Replayer]:
    """Build a replay, with its own writer. `entry` is that of its journal; for the functions see `Replayer`."""
    telemetry, hold = Telemetry(), WatchedHold()
    async with AsyncExitStack() as stack:
        store, sink, producer = await open_outputs(settings, 1, telemetry, stack)
        if (outcome := await store.probe()).kind is not OutcomeKind.WRITTEN:
            raise DependencyError(f"ClickHouse accepts no inserts: {outcome}")
        if problem := await sink.find_problem():
            raise DependencyError(problem)
        # Not the worker's ON_UNAVAILABLE: an outage must not turn a dead letter into another dead letter.
        writer = Writer(store, hold, telemetry, settings.retry, OnUnavailable.HOLD)
        stack.push_async_callback(writer.close)
        failure_log = FailureLog(users=settings.log_user_ids)
        pipeline = Pipeline(writer, sink, hold, telemetry, failure_log)  # the replay fans out
        sources = KafkaSourceRecordFetcher(kafka_target(settings))
        stack.push_async_callback(sources.close)
        yield Replayer(
            scan,
            _journal(settings, producer, entry),
            sources,
            pipeline,
            hold,
            policy,
            editor=editor,
            on_progress=on_progress,
            stop_seconds=settings.drain_seconds_on_stop,
            on_finishing=on_finishing,
        )
