"""The composition root: build the parts, start them, consume, and stop them in reverse order."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from os import getpid
from socket import gethostname

import structlog

from worker.clickhouse.roll_up import RollUpMonitor
from worker.consumer import Consumer
from worker.core.heartbeat import Heartbeat
from worker.core.hold import Cause, Hold
from worker.core.process import (
    cancel_tasks,
    relax_garbage_collection,
    return_large_buffers,
    run_unless_stopped,
    stop_on_signals,
)
from worker.core.version import VERSION
from worker.kafka.connection import require_acls, require_topics
from worker.kafka.event_source import KafkaEventSource
from worker.kafka.group_instances import require_own_group
from worker.observability.failure_log import FailureLog
from worker.observability.otlp import start_metrics_push
from worker.observability.page import render_page
from worker.observability.server import HealthServer
from worker.observability.status_reporter import StatusReporter
from worker.observability.telemetry import Telemetry
from worker.observability.tracing import Tracing, create_tracing
from worker.outputs import open_outputs
from worker.pipeline import Pipeline
from worker.ports import DeadLetterSink, Store
from worker.settings.clickhouse_target import clickhouse_target
from worker.settings.fields import Settings
from worker.settings.targets import group_policy, kafka_acls, kafka_target
from worker.startup import FindProblem, hold_until_ready, watch_dependency
from worker.writing.null_outputs import NOTICE, NullDeadLetterSink, NullStore
from worker.writing.writer import Writer

log = structlog.get_logger(__name__)

_SPANS_SECONDS = 3.0
"""How long a stop waits for the export of the last spans. OpenTelemetry would wait 30 s for a collector that hangs."""


async def run(settings: Settings) -> None:
    """Run the worker until SIGTERM or SIGINT.

    A signal sets `stop` (see `stop_on_signals`). It cancels the start, or ends `Consumer.run`, which finishes or drops
    its batches. The end of the `async with` then stops the parts in reverse order.

    Raises DependencyError if Kafka cannot be reached, or a topic or an ACL is missing. If ClickHouse is unavailable, or
    its table is missing or does not fit, the worker holds instead.
    """
    stop = stop_on_signals()
    relax_garbage_collection()
    return_large_buffers()
    log.info("worker starts", version=VERSION, pid=getpid())
    async with AsyncExitStack() as stack:
        worker = await run_unless_stopped(stop, _build(settings, stack))
        if worker is None:
            log.info("stop requested while starting")
            return
        log.info("worker runs", version=VERSION, topic=settings.kafka_topic, http_port=worker.http_port, pid=getpid())
        await run_unless_stopped(stop, worker.start())
        if not stop.is_set():
            await worker.consume(stop)
        log.info("worker stops")


@dataclass(frozen=True)
class _Outputs:
    """Where metrics go; `checks` must find no problem at the start, and `watches` none while the worker runs."""

    store: Store
    dead_letters: DeadLetterSink
    checks: Mapping[Cause, FindProblem]
    watches: Mapping[Cause, FindProblem]


@dataclass(frozen=True)
class _Worker:
    source: KafkaEventSource
    consumer: Consumer
    hold: Hold
    heartbeat: Heartbeat
    checks: Mapping[Cause, FindProblem]
    watches: Mapping[Cause, FindProblem]
    http_port: int

    async def start(self) -> None:
        """Hold until ClickHouse and the dead-letter topic are ready, then connect to the topic."""
        with self.heartbeat.keep_beating():
            await hold_until_ready(self.checks, self.hold)
            await self.source.start()

    async def consume(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, and keep watching the dead-letter topic."""
        watching = [
            asyncio.create_task(watch_dependency(cause, find_problem, self.hold), name=f"watch {cause}")
            for cause, find_problem in self.watches.items()
        ]
        try:
            await self.consumer.run(stop)
        finally:
            await cancel_tasks(*watching)


async def _build(settings: Settings, stack: AsyncExitStack) -> _Worker:
    """Build every part. What must be stopped is pushed onto `stack`."""
    telemetry, hold, heartbeat = Telemetry(), Hold(), Heartbeat()
    kafka = kafka_target(settings)
    await require_acls(kafka, *kafka_acls(settings))
    await require_topics(kafka, [settings.kafka_topic, settings.kafka_dlq_topic])
    await require_own_group(kafka, settings.kafka_group_id, settings.kafka_group_instance_id)

    tracing = create_tracing(enabled=settings.tracing_enabled, version=VERSION)
    stack.push_async_callback(_export_last_spans, tracing)
    outputs = await _build_outputs(settings, telemetry, tracing, stack)
    writer = Writer(outputs.store, hold, telemetry, settings.retry, settings.on_unavailable, starts_open=True)
    stack.push_async_callback(writer.close)
    pipeline = Pipeline(
        writer,
        outputs.dead_letters,
        hold,
        telemetry,
        FailureLog(users=settings.log_user_ids),
        tracing=tracing,
        event_policy=settings.event_policy,
        counts_rows=settings.persistence_enabled,
    )

    source = KafkaEventSource(kafka, settings.kafka_topic, group_policy(settings), telemetry, tracing)
    stack.push_async_callback(source.close)
    consumer = Consumer(
        source,
        pipeline,
        hold,
        settings.batch,
        heartbeat,
        concurrency=settings.clickhouse_writers + 1,  # one is decoded while the others are written
        revoke_seconds=settings.drain_seconds_on_revoke,
        stop_seconds=settings.drain_seconds_on_stop,
    )

    notice = None if settings.persistence_enabled else NOTICE
    reporter = StatusReporter(VERSION, settings.kafka_group_id, source, telemetry, hold, heartbeat, notice)
    reporter.set_gauges()
    server = HealthServer(reporter.report, telemetry.registry, settings.http_host, settings.http_port, render_page)
    stack.callback(server.close)
    push = start_metrics_push(
        telemetry.registry,
        enabled=settings.otlp_metrics_enabled,
        version=VERSION,
        instance=settings.kafka_group_instance_id or f"{gethostname()}-{getpid()}",
    )
    if push is not None:
        stack.push_async_callback(asyncio.to_thread, push.close)
    return _Worker(source, consumer, hold, heartbeat, outputs.checks, outputs.watches, server.port)


async def _build_outputs(settings: Settings, telemetry: Telemetry, tracing: Tracing, stack: AsyncExitStack) -> _Outputs:
    if not settings.persistence_enabled:
        log.warning(NOTICE)
        return _Outputs(NullStore(), NullDeadLetterSink(), {}, {})
    store, dead_letters, _ = await open_outputs(settings, settings.clickhouse_writers, telemetry, stack, tracing)
    monitor = RollUpMonitor(clickhouse_target(settings), telemetry.set_roll_up)
    stack.push_async_callback(monitor.close)
    checks = {Cause.STORE: store.find_problem, Cause.DEAD_LETTERS: dead_letters.find_problem}
    return _Outputs(store, dead_letters, checks, {Cause.DEAD_LETTERS: dead_letters.find_missing_topic})


async def _export_last_spans(tracing: Tracing) -> None:
    try:
        async with asyncio.timeout(_SPANS_SECONDS):
            await asyncio.to_thread(tracing.close)
    except TimeoutError:
        log.warning("the last spans were not exported in time", seconds=_SPANS_SECONDS)
