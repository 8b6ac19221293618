"""The environment of the benchmarks: one broker, one engine, topics that are filled once, a new table for every run."""

import asyncio
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from clickhouse_driver import Client
from confluent_kafka import KafkaError, Message, Producer

from deploy.local.broker import create_topics
from deploy.local.stack import Stack
from tests.benchmarks.events import EventGenerator, GeneratedEvent
from tests.benchmarks.shape import Shape
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget
from worker.dead_letters.dead_letter import EncodedDeadLetter

Figures = dict[str, int | float | str]

_CONSTRAINT = "ALTER TABLE {table} ADD CONSTRAINT not_below_zero CHECK metric_value >= 0"
_POLL_EVERY = 1_000


@dataclass(frozen=True)
class Topic:
    """A topic with a backlog.

    Attributes:
        results: number of rows and dead letters that the events become.
        event_bytes: mean size of a record's value.
    """

    name: str
    shape: Shape
    events: int
    results: int
    event_bytes: int


class BenchmarkEnvironment:
    """One stack, used by several benchmarks.

    Attributes:
        stack: the servers, running.
        directory: for logs.
    """

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.stack = stack
        self.directory = directory
        self._topics: dict[tuple[Shape, int, int, str], Topic] = {}
        self._names = 0

    def new_name(self) -> str:
        """A new name for a group, a table or a log."""
        self._names += 1
        return f"bench_{self._names}"

    def topic(self, shape: Shape, count: int, partitions: int = 4, codec: str = "none") -> Topic:
        """A topic with `count` events of `shape`; made once."""
        key = (shape, count, partitions, codec)
        if key not in self._topics:
            name = self.create_empty_topic(partitions)
            results, size = self._fill(name, shape, count, partitions, codec)
            self._topics[key] = Topic(name, shape, count, results, size // count)
        return self._topics[key]

    def create_empty_topic(self, partitions: int = 4) -> str:
        """Create a topic without records; returns its name."""
        name = self.new_name()
        asyncio.run(create_topics(self.stack.broker.bootstrap_servers, {name: partitions}))
        return name

    def create_table(self, *, constrained: bool = False) -> str:
        """Create a table with the migrations; returns its name. A `constrained` one refuses values below 0.

        The refreshable view is dropped, because its refresh would run beside the next measurement.
        """
        name = self.new_name()
        engine = self.stack.engine
        migrate(ClickHouseTarget(engine.host, engine.port, self.stack.database, table=name))
        with self.client() as client:
            client.execute(f"DROP VIEW {name}_per_day_refresh")
            if constrained:
                client.execute(_CONSTRAINT.format(table=name))
        return name

    def client(self) -> Client:
        """A client of the engine."""
        return self.stack.engine.client(self.stack.database)

    def worker_environment(self, topic: str, table: str, **more: str) -> dict[str, str]:
        """The variables of a worker that reads `topic` in a new group."""
        named = {"KAFKA_TOPIC": topic, "KAFKA_GROUP_ID": self.new_name(), "CLICKHOUSE_TABLE": table}
        return {**self.stack.environment(), **named, **more}

    def fill(
        self,
        topic: str,
        records: Iterable[GeneratedEvent | EncodedDeadLetter],
        partitions: int = 1,
        codec: str = "none",
    ) -> None:
        """Produce `records`, in turns to the partitions."""
        producer = create_producer(self.stack.broker.bootstrap_servers, codec)
        failed: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        for number, record in enumerate(records):
            produce(producer, topic, record, number % partitions, on_delivery)
            if number % _POLL_EVERY == 0:
                producer.poll(0)
        if producer.flush(60) or failed:
            raise click.ClickException(f"the topic could not be filled: {failed[:1]}")

    def _fill(self, name: str, shape: Shape, count: int, partitions: int, codec: str) -> tuple[int, int]:
        results = size = 0

        def generate() -> Iterator[GeneratedEvent]:
            nonlocal results, size
            for event in EventGenerator(shape).generate(count):
                size += len(event.value)
                results += event.results
                yield event

        click.echo(f"a topic is filled with {count:,} events", err=True)
        self.fill(name, generate(), partitions, codec)
        return results, size


def create_producer(servers: str, codec: str = "none") -> Producer:
    """A librdkafka producer, which needs a tenth of the CPU of aiokafka's on the cores that the worker shares."""
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


def produce(
    producer: Producer,
    topic: str,
    event: GeneratedEvent | EncodedDeadLetter,
    partition: int,
    on_delivery: object = None,
) -> None:
    """Produce a record; wait while the producer's queue is full."""
    while True:
        try:
            producer.produce(
                topic,
                event.value,
                event.key,
                partition=partition,
                on_delivery=on_delivery,  # type: ignore[arg-type]
                timestamp=event.timestamp,
                headers=[*event.headers],
            )
        except BufferError:
            producer.poll(0.1)
        else:
            return


def describe_machine() -> Figures:
    """The machine and Python version, on which the figures depend."""
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
