"""Where the benchmarks take place: one broker, one engine, topics filled once, and a fresh table for every run."""

import asyncio
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from clickhouse_driver import Client
from confluent_kafka import KafkaError, Message, Producer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.local.broker import create_topics
from deploy.local.stack import Stack
from tests.benchmarks.events import Shape, events
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import migrate

Figures = dict[str, int | float | str]

_RULE = "ALTER TABLE {table} ADD CONSTRAINT not_below_zero CHECK metric_value >= 0"
_SERVE_EVERY = 1_000


@dataclass(frozen=True)
class Topic:
    """A topic with a backlog.

    Attributes:
        rows: metrics in all events: rows, if all of them are taken.
        event_bytes: mean size of a record's value.
    """

    name: str
    shape: Shape
    events: int
    partitions: int
    codec: str
    rows: int
    event_bytes: int


class BenchmarkEnvironment:
    """One stack, used by several benchmarks.

    Attributes:
        stack: the servers, running.
        directory: for logs.
        console: for progress.
    """

    def __init__(self, stack: Stack, directory: Path, console: Console) -> None:
        self.stack = stack
        self.directory = directory
        self.console = console
        self._topics: dict[tuple[Shape, int, int, str], Topic] = {}
        self._names = 0

    def name(self) -> str:
        """One that was not given before: for a group, a table, a log."""
        self._names += 1
        return f"bench_{self._names}"

    def topic(self, shape: Shape, count: int, partitions: int = 4, codec: str = "none") -> Topic:
        """A topic with `count` events of `shape`; the same one when it was asked for before."""
        key = (shape, count, partitions, codec)
        if key not in self._topics:
            name = self.name()
            asyncio.run(create_topics(self.stack.broker.bootstrap_servers, {name: partitions}))
            rows, size = self._fill(name, shape, count, partitions, codec)
            self._topics[key] = Topic(name, shape, count, partitions, codec, rows, size // count)
        return self._topics[key]

    def empty_topic(self, partitions: int = 4) -> str:
        """The name of a topic without records."""
        name = self.name()
        asyncio.run(create_topics(self.stack.broker.bootstrap_servers, {name: partitions}))
        return name

    def table(self, *, ruled: bool = False) -> str:
        """The name of a new table, as the migrations make it; `ruled` refuses values below 0.

        What they summarise by the hour is left out: it would be computed beside the next run.
        """
        name = self.name()
        engine = self.stack.engine
        migrate(ClickHouseTarget(engine.host, engine.port, self.stack.database, table=name), lambda _: None)
        with self.client() as client:
            client.execute(f"DROP VIEW {name}_per_day_refresh")
            if ruled:
                client.execute(_RULE.format(table=name))
        return name

    def client(self) -> Client:
        """A client of the engine."""
        return self.stack.engine.client(self.stack.database)

    def environment(self, topic: str, table: str, **more: str) -> dict[str, str]:
        """What a worker is told that reads `topic` in a group of its own."""
        named = {"KAFKA_TOPIC": topic, "KAFKA_GROUP_ID": self.name(), "CLICKHOUSE_TABLE": table}
        return {**self.stack.environment(), **named, **more}

    def _fill(self, name: str, shape: Shape, count: int, partitions: int, codec: str) -> tuple[int, int]:
        producer = fast_producer(self.stack.broker.bootstrap_servers, codec)
        failed: list[KafkaError] = []

        def told(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        rows = size = 0
        with self.progress() as progress:
            bar = progress.add_task("filling a topic", total=count)
            for number, value in enumerate(events(shape, count)):
                size += len(value)
                rows += shape.metrics + (b'"refused":' in value)
                produce_patiently(producer, name, value, number % partitions, told)
                if number % _SERVE_EVERY == 0:
                    producer.poll(0)
                    progress.update(bar, completed=number)
            if producer.flush(60) or failed:
                raise click.ClickException(f"the topic could not be filled: {failed[:1]}")
        return rows, size

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A bar on the terminal while something goes on."""
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield progress


def fast_producer(servers: str, codec: str = "none") -> Producer:
    """Librdkafka: it takes a tenth of what aiokafka's producer takes, on cores that the worker shares."""
    return Producer(
        {
            "bootstrap.servers": servers,
            "compression.codec": codec,
            "linger.ms": 5,
            "batch.size": 65_536,
            "acks": "all",
            "log_level": 0,
        }
    )


def produce_patiently(producer: Producer, topic: str, value: bytes, partition: int, told: object = None) -> None:
    """Produce; where the producer's queue is full, when there is room again."""
    while True:
        try:
            producer.produce(topic, value, partition=partition, on_delivery=told)  # type: ignore[arg-type]
        except BufferError:
            producer.poll(0.1)
        else:
            return


def machine() -> Figures:
    """What the figures depend on that is not the worker."""
    return {
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "platform": platform.platform(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
