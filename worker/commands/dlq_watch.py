"""`metrics-worker dlq watch`: the open dead letters as telemetry, until SIGTERM."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import getpid
from time import monotonic

import click
import structlog
from prometheus_client import CollectorRegistry

from worker.commands.command_line import exit_without_joining_threads
from worker.commands.connections import GC_THRESHOLD, open_reader
from worker.commands.help_page import format_examples
from worker.commands.service import load_service_settings, log_fatal_errors
from worker.core.heartbeat import Heartbeat
from worker.core.process import relax_garbage_collection, run_unless_stopped, stop_on_signals
from worker.core.version import VERSION
from worker.kafka.retention import fetch_retention_seconds
from worker.kafka.topic_reader import KafkaTopicReader
from worker.observability.metrics import PREFIX, MetricFactory, ProcessMetrics
from worker.observability.open_dead_letters import OpenDeadLettersCollector
from worker.observability.server import HealthServer
from worker.replay.watch import DeadLetterWatch
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable
from worker.settings.targets import kafka_target

log = structlog.get_logger(__name__)


_EXAMPLES = format_examples(
    "HTTP_PORT=9100 metrics-worker dlq watch",
    "curl -s localhost:9100/metrics | grep dead_letters_open",
)


@click.command(epilog=_EXAMPLES)
def watch() -> None:
    """Serve the number of open dead letters by cause to Prometheus, until SIGTERM.

    HTTP_PORT has /metrics, /livez and /readyz. The topic is scanned when it has changed, at most every 15 s and for at
    most a tenth of the time. While Kafka is away it is not ready, and the metrics keep what was found before.
    """
    with log_fatal_errors():
        asyncio.run(_watch(load_service_settings(RequiredVariable.KAFKA)))
    exit_without_joining_threads(0)


@dataclass(frozen=True)
class _Health:
    reasons: Mapping[str, str]
    silence_seconds: float
    notice: str | None = None


async def _watch(settings: Settings) -> None:
    """Watch until a signal. Raises SettingsError if HTTP_PORT cannot be listened on."""
    stop, heartbeat = stop_on_signals(), Heartbeat()
    relax_garbage_collection(GC_THRESHOLD)
    target, topic = kafka_target(settings), settings.kafka_dlq_topic
    watching = DeadLetterWatch(
        lambda: open_reader(KafkaTopicReader(target, topic)), partial(fetch_retention_seconds, target, topic)
    )
    registry = CollectorRegistry()
    ProcessMetrics(MetricFactory(registry)).set_version(VERSION)
    OpenDeadLettersCollector(PREFIX, registry, topic, lambda: watching.state)

    def report() -> _Health:
        problem = watching.state.problem
        return _Health({"kafka": problem} if problem else {}, monotonic() - heartbeat.last)

    server = HealthServer(report, registry, settings.http_host, settings.http_port)
    log.info("watch runs", version=VERSION, topic=topic, http_port=server.port, pid=getpid())
    try:
        with heartbeat.keep_beating():
            await run_unless_stopped(stop, watching.run())
    finally:
        server.close()
    log.info("watch stops")
