"""The composition root: build the adapters, start them, run the consumer, stop in reverse."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from os import getpid
from time import monotonic, time

import structlog

from worker.clickhouse.store import ClickHouseStore
from worker.consumer import Consumer
from worker.core.hold import Cause, Hold
from worker.core.process import relax_garbage_collection, stop_on_signals, unless_stopped
from worker.dead_letters.dead_letter import WorkerInfo
from worker.kafka.connection import KafkaTarget, producing, require_rights, require_topics
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.kafka.event_source import KafkaEventSource
from worker.kafka.membership import GroupPolicy
from worker.null_outputs import NullDeadLetterSink, NullStore
from worker.observability import logs
from worker.observability.failure_log import FailureLog
from worker.observability.server import Health
from worker.observability.status import GROUP, Status
from worker.observability.telemetry import Telemetry
from worker.observability.tracing import Tracing, tracing
from worker.pipeline import Pipeline
from worker.ports import DeadLetterSink, Store
from worker.settings.loading import Settings
from worker.settings.targets import clickhouse_target, kafka_needs, kafka_target
from worker.startup import StartupCheck, find_store_problem, hold_until_ready
from worker.writing.writer import Writer

log = structlog.get_logger(__name__)

VERSION = version("execution-metrics-worker")

_DRAIN_SHARE = 0.6
"""Of a deadline, what work under way may take; the rest is for leaving the group and closing connections."""

_SPANS_SECONDS = 3.0
"""How long a stop waits for the last spans; OpenTelemetry alone gives a collector that hangs half a minute."""

FAILING_SECONDS = 10.0
"""An INSERT that has been failing for so long makes the worker unready, whatever is left of its retry budget."""
_TICK_SECONDS = 1.0


async def run(settings: Settings) -> None:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        DependencyError: Kafka cannot be reached, or a topic or a right is missing. While ClickHouse is unavailable, or
            its table is missing or does not fit, the worker holds.
    """
    stop = stop_on_signals()
    relax_garbage_collection()
    log.info("worker starts", version=VERSION, pid=getpid())
    async with AsyncExitStack() as stack:
        worker = await unless_stopped(stop, stack.enter_async_context(_worker(settings)))
        if worker is None:
            log.info("asked to stop while starting")
            return
        log.info("worker runs", version=VERSION, topic=settings.kafka_topic, http_port=worker.http_port, pid=getpid())
        await unless_stopped(stop, worker.begin())
        if not stop.is_set():
            await worker.consumer.run(stop)
        log.info("worker stops")


@dataclass(frozen=True)
class _Worker:
    consumer: Consumer
    inbox: KafkaEventSource
    hold: Hold
    checks: Sequence[StartupCheck]
    http_port: int

    async def begin(self) -> None:
        """Hold until everything is there, then connect to the topic."""
        ticking = asyncio.create_task(self._tick(), name="tick")
        try:
            await hold_until_ready(self.checks, self.hold)
            await self.inbox.start()
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        """Waiting for a dependency is progress: the process is not stuck."""
        while True:
            self.consumer.last_progress = monotonic()
            await asyncio.sleep(_TICK_SECONDS)


@asynccontextmanager
async def _worker(settings: Settings) -> AsyncIterator[_Worker]:
    telemetry, hold = Telemetry(), Hold()
    async with AsyncExitStack() as stack:
        summaries = asyncio.create_task(logs.summarise(), name="summaries")
        stack.callback(summaries.cancel)
        # 1. Kafka must be there, with both topics, and let us use them.
        kafka = kafka_target(settings)
        await require_rights(kafka, *kafka_needs(settings))
        await require_topics(kafka, [settings.kafka_topic, settings.kafka_dlq_topic])
        # 2. Where metrics go.
        traces = tracing(enabled=settings.tracing_enabled, version=VERSION)
        stack.push_async_callback(_close, traces)
        store, dead_letters, checks = await _outputs(settings, kafka, telemetry, traces, stack)
        writer = Writer(store, hold, settings.retry, settings.on_unavailable, telemetry=telemetry, starts_open=True)
        stack.push_async_callback(writer.close)
        pipeline = Pipeline(
            writer, dead_letters, hold, telemetry, FailureLog(users=settings.log_user_ids), tracing=traces
        )
        # 3. Where they come from.
        group = GroupPolicy(
            settings.kafka_group_id,
            settings.kafka_group_instance_id,
            settings.kafka_session_timeout_seconds,
            settings.kafka_rebalance_timeout_seconds,
            settings.kafka_metadata_max_age_seconds,
        )
        inbox = KafkaEventSource(kafka, settings.kafka_topic, group, telemetry, traces)
        stack.push_async_callback(inbox.stop)
        consumer = Consumer(
            inbox,
            pipeline,
            hold,
            settings.batch,
            concurrency=settings.clickhouse_writers + 1,  # one is decoded while the others are written
            revoke_seconds=_DRAIN_SHARE * settings.kafka_rebalance_timeout_seconds,
            stop_seconds=_DRAIN_SHARE * settings.shutdown_timeout_seconds,
        )
        # 4. What the platform asks.
        for cause in Cause:
            telemetry.holding.labels(cause.value).set_function(partial(_is_held, hold, cause))
        telemetry.running(VERSION, lambda: consumer.last_progress, lambda: inbox.lag)
        looking = partial(_status, settings, telemetry, hold, inbox, consumer, time())
        server = Health(looking, telemetry.registry).serve(settings.http_host, settings.http_port)
        stack.callback(server.close)
        yield _Worker(consumer, inbox, hold, checks, server.port)


async def _close(traces: Tracing) -> None:
    try:
        async with asyncio.timeout(_SPANS_SECONDS):
            await asyncio.to_thread(traces.close)
    except TimeoutError:
        log.warning("the last spans were not taken in time", seconds=_SPANS_SECONDS)


async def _outputs(
    settings: Settings, kafka: KafkaTarget, telemetry: Telemetry, traces: Tracing, stack: AsyncExitStack
) -> tuple[Store, DeadLetterSink, Sequence[StartupCheck]]:
    if not settings.persistence_enabled:
        log.warning("PERSISTENCE_ENABLED is false: events are read and counted, nothing is written")
        return NullStore(), NullDeadLetterSink(), ()
    producer = await stack.enter_async_context(producing(kafka, idempotent=settings.kafka_producer_idempotence))
    head = WorkerInfo(worker=VERSION, table=f"{settings.clickhouse_database}.{settings.clickhouse_table}")
    seconds = settings.kafka_dlq_timeout_seconds
    dead_letters = KafkaDeadLetterSink(producer, settings.kafka_dlq_topic, head, seconds, traces)
    target = clickhouse_target(settings)
    store = ClickHouseStore(target, settings.clickhouse_writers, telemetry)
    stack.callback(store.close)
    checks = (
        StartupCheck(Cause.STORE, lambda: find_store_problem(store, target)),
        StartupCheck(Cause.DEAD_LETTERS, dead_letters.find_problem),
    )
    return store, dead_letters, checks


def failing_insert(telemetry: Telemetry) -> str | None:
    """What to say at /readyz of an INSERT that has failed, or had no answer, for long within its budget; else None."""
    seconds, error = max(telemetry.unanswered.oldest(), telemetry.in_flight.oldest())
    return f"an INSERT has been failing for {seconds:.0f} s: {error}"[:500] if seconds >= FAILING_SECONDS else None


def _is_held(hold: Hold, cause: Cause) -> float:
    return float(cause in hold.reasons)


def _status(
    settings: Settings, telemetry: Telemetry, hold: Hold, inbox: KafkaEventSource, consumer: Consumer, started: float
) -> Status:
    reasons = {cause.value: reason for cause, reason in hold.reasons.items()}
    if Cause.STORE.value not in reasons and (reason := failing_insert(telemetry)):
        reasons[Cause.STORE.value] = reason
    if not inbox.is_group_member():
        reasons[GROUP] = "not a member of the consumer group: it waits for ClickHouse or the coordinator of the group"
    return Status(
        version=VERSION,
        topic=settings.kafka_topic,
        group=settings.kafka_group_id,
        started=started,
        now=time(),
        reasons=reasons,
        silence_seconds=monotonic() - consumer.last_progress,
        ever_joined=inbox.has_been_group_member,
        lags=tuple(inbox.lag),
        rates=telemetry.rates,
        totals=telemetry.totals,
        last_letters=telemetry.last_letters,
    )
