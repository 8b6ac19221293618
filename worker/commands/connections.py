"""The composition root of the commands that look after dead letters."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from worker.app import VERSION
from worker.clickhouse.store import ClickHouseStore
from worker.core.errors import DependencyError
from worker.core.outcome import OutcomeKind
from worker.core.process import relax_garbage_collection
from worker.dead_letters.dead_letter import WorkerInfo
from worker.kafka.connection import producing
from worker.kafka.dead_letter_reader import KafkaDeadLetterReader
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.kafka.source_records import KafkaSourceRecordFetcher
from worker.observability.failure_log import FailureLog
from worker.observability.telemetry import Telemetry
from worker.pipeline import Pipeline
from worker.replay.part_deduplicator import PartDeduplicator
from worker.replay.plan import ReplayPolicy
from worker.replay.replay import Replay
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import WatchedHold
from worker.settings.loading import Settings
from worker.settings.targets import clickhouse_target, kafka_target
from worker.writing.writer import OnUnavailable, Writer

_OBJECTS = 1_000_000
"""A dead letter is some forty, nearly all of them headers, and gone a moment later: to look through them for cycles
took a third of the CPU of reading it."""


@asynccontextmanager
async def open_dead_letters(settings: Settings) -> AsyncIterator[DeadLetterScan]:
    """What stands in the dead-letter topic now; the progress of replays is kept beside the group of the workers.

    Raises:
        DependencyError: Kafka cannot be reached, or the topic is missing.
    """
    relax_garbage_collection(_OBJECTS)
    backlog = KafkaDeadLetterReader(
        kafka_target(settings), settings.kafka_dlq_topic, f"{settings.kafka_group_id}.replay"
    )
    await backlog.start()
    try:
        yield await DeadLetterScan.now(backlog)
    finally:
        await backlog.stop()


def qualified_table_name(settings: Settings) -> str:
    """The table that rows are for, as dead letters name it."""
    return f"{settings.clickhouse_database}.{settings.clickhouse_table}"


@asynccontextmanager
async def open_replay(
    settings: Settings,
    standing: DeadLetterScan,
    policy: ReplayPolicy,
    *,
    told: Callable[[int], object],
    finishing: Callable[[float], object],
) -> AsyncIterator[Replay]:
    """A replay, ready to run, with a writer of its own.

    Raises:
        DependencyError: Kafka or ClickHouse cannot be reached, or is not prepared.
    """
    kafka, telemetry, hold = kafka_target(settings), Telemetry(), WatchedHold()
    async with AsyncExitStack() as stack:
        store = ClickHouseStore(clickhouse_target(settings), 1, telemetry)
        stack.callback(store.close)
        if (outcome := await store.probe()).kind is not OutcomeKind.WRITTEN:
            raise DependencyError(f"ClickHouse accepts no inserts: {outcome}")
        producer = await stack.enter_async_context(producing(kafka, idempotent=settings.kafka_producer_idempotence))
        head = WorkerInfo(worker=VERSION, table=qualified_table_name(settings))
        letters = KafkaDeadLetterSink(producer, settings.kafka_dlq_topic, head, settings.kafka_dlq_timeout_seconds)
        # Not the worker's ON_UNAVAILABLE: what is dead already is not made a dead letter because of an outage.
        writer = Writer(store, hold, settings.retry, OnUnavailable.HOLD, telemetry=telemetry)
        stack.push_async_callback(writer.close)
        pipeline = Pipeline(
            writer, PartDeduplicator(letters, standing.claims), hold, telemetry, FailureLog(users=settings.log_user_ids)
        )
        sources = KafkaSourceRecordFetcher(kafka)
        stack.push_async_callback(sources.stop)
        yield Replay(
            standing,
            sources,
            pipeline,
            hold,
            policy,
            told=told,
            stop_seconds=settings.shutdown_timeout_seconds * 0.6,
            finishing=finishing,
        )
