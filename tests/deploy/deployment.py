"""A deployment to break: broker, engine, one worker, and a Prometheus that scrapes it."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from deploy.local.broker import KafkaServer
from deploy.local.demo.worker_progress import wait_until_ready
from deploy.local.process import free_port
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess
from tests.deploy.scraping import Prometheus
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import send

SECONDS = 120.0
"""The longest wait for an alert."""


class Deployment:
    """Broker, engine, one worker and Prometheus; a test may break any of them."""

    def __init__(self, directory: Path, program: Path, broker: KafkaServer | None = None) -> None:
        self.stack = Stack(directory, broker=broker)
        self.prometheus = Prometheus(program, directory)
        self.directory = directory
        self.open = ExitStack()

    def __enter__(self) -> "Deployment":
        self.stack.start()
        self.open.callback(self.stack.stop)
        environment = {
            **self.stack.environment(),
            "HTTP_PORT": str(free_port()),  # fixed, so that it is the same after a restart
            "CLICKHOUSE_TIMEOUT_SECONDS": "100",
            "KAFKA_REBALANCE_TIMEOUT_SECONDS": "200",
            "RETRY_ATTEMPTS": "2",
            "RETRY_MAX_SECONDS": "1",
            "ON_UNAVAILABLE": "hold",
            "EVENT_MAX_AGE_DAYS": "0",  # the events have fixed times, and their records the time of the test
        }
        self.worker = WorkerProcess(self.directory, environment)
        self.open.callback(self.worker.process.kill)
        self.worker.start()
        wait_until_ready(self.worker)
        self.open.callback(self.prometheus.process.kill)
        self.prometheus.start()
        self.prometheus.scrape([self.worker.http_port])
        # Of a counter that has been scraped only once, nothing increases.
        increases = "increase(metrics_worker_events_total[30s])"
        wait_until(lambda: bool(self.prometheus.query(increases)), "the worker has been scraped twice", SECONDS)
        return self

    def start_watch(self) -> WorkerProcess:
        """Start the watch over the dead letters, and let Prometheus scrape it."""
        environment = {**self.stack.environment(), "HTTP_PORT": str(free_port())}
        watch = WorkerProcess(self.directory, environment, "watch", ("dlq", "watch"))
        self.open.callback(watch.process.kill)
        watch.start()
        self.prometheus.scrape([self.worker.http_port], [watch.http_port])
        return watch

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def send(self, count: int, **metrics: float) -> None:
        values = [encoded(event(execution_id=str(uuid4()), metrics=metrics)) for _ in range(count)]
        asyncio.run(send(self.stack.broker.bootstrap_servers, self.stack.topic, values))

    def rows_written(self) -> float:
        return self.worker.telemetry()["metrics_worker_rows_written_total"][()]

    def wait_for(self, alert: str) -> None:
        wait_until(lambda: alert in self.prometheus.firing(), f"{alert} fires", SECONDS)

    def wait_until_none_fires(self) -> None:
        wait_until(lambda: not self.prometheus.firing(), "no alert fires", SECONDS)
