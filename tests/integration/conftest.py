"""A worker as production runs it, with topics and a database for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import ConsumerRecord
from clickhouse_driver import Client

from deploy.local.broker import KafkaServer
from deploy.local.engine_process import EngineProcess
from deploy.local.worker_process import WorkerProcess
from tests.support.commands import Commands, write_dead_letters
from tests.support.events import encoded, event
from tests.support.events import read as decoded
from tests.support.local import Topics, fresh_name, wait_until
from tests.support.tables import migrate
from tests.support.topic import committed, read, send, size
from worker.clickhouse.connection import ClickHouseTarget
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure

Environment = dict[str, str]
StartWorker = Callable[..., WorkerProcess]
StartService = Callable[..., WorkerProcess]


@pytest.fixture
def environment(broker: KafkaServer, engine: EngineProcess, topics: Topics, database: str) -> Environment:
    """Environment variables for a worker on the test's topics and its database, which is migrated."""
    migrate(ClickHouseTarget(engine.host, engine.port, database))
    return {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_TOPIC": topics.events,
        "KAFKA_DLQ_TOPIC": topics.dead_letters,
        "KAFKA_GROUP_ID": fresh_name("group"),
        "KAFKA_PRODUCER_IDEMPOTENCE": str(broker.idempotence).lower(),
        "EVENT_MAX_AGE_DAYS": "0",  # the events of the tests have fixed times, and their records the time of the test
        "KAFKA_SESSION_TIMEOUT_SECONDS": "2",  # Tansu lets the first member in after half of it
        "CLICKHOUSE_HOST": engine.host,
        "CLICKHOUSE_PORT": str(engine.port),
        "CLICKHOUSE_DATABASE": database,
    }


@pytest.fixture
def start_worker(environment: Environment, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers with changed variables, and kills those that still run after the test."""
    started: list[WorkerProcess] = []

    def start(**changes: str) -> WorkerProcess:
        worker = WorkerProcess(tmp_path, environment | changes, name=f"worker-{len(started)}")
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.process.kill()


@pytest.fixture
def start_service(environment: Environment, tmp_path: Path) -> Iterator[StartService]:
    """Starts another command that serves HTTP, on a free port, and kills it after the test."""
    started: list[WorkerProcess] = []

    def start(*command: str) -> WorkerProcess:
        service = WorkerProcess(tmp_path, {"CONSOLE_PORT": "0"} | environment, command[-1], command)
        service.start()
        started.append(service)
        return service

    yield start
    for service in started:
        service.process.kill()


@pytest.fixture
async def three_dead_letters(environment: Environment) -> None:
    """Of one event: a constraint has refused the metrics a and b, c has failed in an outage."""
    refused = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
    outage = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
    item = decoded(event(metrics={}))
    for name, failure in (("a", refused), ("b", refused), ("c", outage)):
        await write_dead_letters(environment, FailedMetric(item, name, 1, failure, 1))


@pytest.fixture
def commands(environment: Environment) -> Commands:
    """Runs commands of the worker on the test's topics and database."""
    return Commands(environment)


@pytest.fixture
def not_negative(clickhouse: Client, environment: Environment) -> None:
    """A constraint of the table: no value below 0."""
    assert environment
    clickhouse.execute("ALTER TABLE execution_metrics ADD CONSTRAINT not_negative CHECK metric_value >= 0")


def events(count: int, **fields: Any) -> list[bytes]:
    """Events of different executions, with `fields` added or replaced."""
    return [encoded(event(execution_id=str(uuid4()), **fields)) for _ in range(count)]


async def produce(environment: Environment, *values: bytes | None, **options: Any) -> None:
    """Send records to the topic of the worker; see `send` for the options."""
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], values, **options)


async def read_dead_letters(environment: Environment, count: int) -> list[ConsumerRecord]:
    """The first `count` records of the dead-letter topic."""
    return await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"], count)


async def count_dead_letters(environment: Environment) -> int:
    """The number of records of the dead-letter topic."""
    return await size(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_DLQ_TOPIC"])


async def committed_offsets(environment: Environment) -> dict[int, int | None]:
    """The offset that the worker's group has committed in each partition."""
    servers, topic, group = (environment[f"KAFKA_{name}"] for name in ("BOOTSTRAP_SERVERS", "TOPIC", "GROUP_ID"))
    return await committed(servers, topic, group, 4)


async def write_some_blocks(environment: Environment, client: Client) -> int:
    """Send events, each in a block of its own: a worker dead-letters nothing for an outage before three were written.

    Returns:
        How many rows of them are in the table, two of each.
    """
    count = "SELECT count() FROM execution_metrics"
    for number in range(1, 5):
        await produce(environment, *events(1))
        rows = [(2 * number,)]
        wait_until(lambda: client.execute(count) == rows, f"{rows} rows", timeout_seconds=30)  # noqa: B023 - called here
    return 8
