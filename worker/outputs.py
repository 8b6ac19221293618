"""Where metrics go: the table in ClickHouse and the dead-letter topic, for the worker and for a replay."""

from contextlib import AsyncExitStack

from worker.clickhouse.store import ClickHouseStore
from worker.core.version import VERSION
from worker.dead_letters.dead_letter import WorkerInfo
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.kafka.topic_producer import TopicProducer, open_producer
from worker.observability.telemetry import Telemetry
from worker.observability.tracing import NO_TRACING, Tracing
from worker.settings.clickhouse_target import clickhouse_target
from worker.settings.fields import Settings
from worker.settings.targets import kafka_target


async def open_outputs(
    settings: Settings, writers: int, telemetry: Telemetry, stack: AsyncExitStack, tracing: Tracing = NO_TRACING
) -> tuple[ClickHouseStore, KafkaDeadLetterSink, TopicProducer]:
    """Open the table, and the dead-letter topic with its producer; `stack` closes them.

    Raises DependencyError if no broker answers.
    """
    producer = await stack.enter_async_context(
        open_producer(kafka_target(settings), settings.kafka_dlq_topic, idempotent=settings.kafka_producer_idempotence)
    )
    info = WorkerInfo(version=VERSION, table=settings.qualified_table)
    seconds = settings.kafka_dlq_timeout_seconds
    sink = KafkaDeadLetterSink(producer, info, seconds, tracing)
    store = ClickHouseStore(clickhouse_target(settings), writers, telemetry)
    stack.callback(store.close)
    return store, sink, producer
