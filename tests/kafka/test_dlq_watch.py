"""The open dead letters as telemetry on Apache Kafka, which has a retention, deletes records and can be away."""

from collections.abc import Iterator
from pathlib import Path
from time import time

import pytest

from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from deploy.local.worker_process import WorkerProcess
from tests.kafka.workload import Workload
from tests.support.commands import Commands, write_dead_letters
from tests.support.events import event, read
from tests.support.local import wait_until
from tests.support.topic import configure, delete_records, delete_topic, send
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure

REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
RETENTION_SECONDS = 90_000
SECONDS = 60.0
"""The watch looks every 15 seconds whether the topic has changed."""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def watch(environment: dict[str, str], tmp_path: Path) -> Iterator[WorkerProcess]:
    """`dlq watch`, to be started."""
    watch = WorkerProcess(tmp_path, environment, "watch", ("dlq", "watch"))
    yield watch
    watch.process.kill()


async def write(environment: dict[str, str], *names: str) -> None:
    item = read(event(metrics={}))
    await write_dead_letters(environment, *(FailedMetric(item, name, 1, REFUSED, 1) for name in names))


def count_open(watch: WorkerProcess) -> float:
    return sum(watch.telemetry().get("metrics_worker_dead_letters_open", {"": -1.0}).values())


async def test_gauges_follow_discards_and_retention(
    environment: dict[str, str], workload: Workload, watch: WorkerProcess
) -> None:
    values = {"retention.ms": f"{RETENTION_SECONDS}000", "message.timestamp.type": "LogAppendTime"}
    await configure(workload.servers, workload.dlq_topic, values)
    began = time()
    await write(environment, *"abcde")
    await send(workload.servers, workload.dlq_topic, [b"foreign"])
    watch.start()
    wait_until(lambda: count_open(watch) == 6, "all are open", SECONDS)
    telemetry = watch.telemetry()
    assert telemetry["metrics_worker_retention_seconds"] == {(workload.dlq_topic,): RETENTION_SECONDS}
    expiry = telemetry["metrics_worker_dead_letters_first_expiry_timestamp_seconds"][()]
    assert began - 1 < expiry - RETENTION_SECONDS < time()
    Commands(environment).json("dlq", "discard", "--metric", "a", "--metric", "c", "--reason", "x", "--yes")
    wait_until(lambda: count_open(watch) == 4, "two are discarded", SECONDS)
    await delete_records(workload.servers, workload.dlq_topic, {0: 4})
    wait_until(lambda: count_open(watch) == 2, "two more are deleted", SECONDS)
    assert telemetry.keys() == watch.telemetry().keys()
    await delete_records(workload.servers, workload.dlq_topic, {0: -1})
    wait_until(lambda: count_open(watch) == 0, "none is left", SECONDS)
    assert "metrics_worker_dead_letters_first_expiry_timestamp_seconds" not in watch.telemetry()


async def test_topic_that_is_deleted_and_created_again_is_watched_again(
    environment: dict[str, str], workload: Workload, watch: WorkerProcess
) -> None:
    await write(environment, *"abc")
    watch.start()
    wait_until(lambda: count_open(watch) == 3, "all are open", SECONDS)
    await delete_topic(workload.servers, workload.dlq_topic)
    wait_until(lambda: "does not exist" in watch.readiness().get("kafka", ""), "the reason", SECONDS)
    await create_topics(workload.servers, {workload.dlq_topic: 3})
    await write(environment, "a")
    wait_until(lambda: not watch.readiness() and count_open(watch) == 1, "the new one is open", SECONDS)


async def test_watch_outlives_kafka_and_says_how_old_its_numbers_are(
    environment: dict[str, str], tmp_path: Path, watch: WorkerProcess
) -> None:
    with ApacheKafka(tmp_path / "broker") as broker:
        environment["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap_servers
        watch.process.update_environment(KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers)
        await create_topics(broker.bootstrap_servers, {environment["KAFKA_DLQ_TOPIC"]: 1})
        await write(environment, *"abc")
        watch.start()
        wait_until(lambda: count_open(watch) == 3, "all are open", SECONDS)
        broker.kill()
        wait_until(lambda: "cannot be reached" in watch.readiness().get("kafka", ""), "Kafka is away", SECONDS)
        assert count_open(watch) == 3
        checked = last_check(watch)
        broker.start()
        wait_until(lambda: not watch.readiness(), "Kafka is back", SECONDS)
        assert last_check(watch) > checked
        watch.process.stop()


def last_check(watch: WorkerProcess) -> float:
    return watch.telemetry()["metrics_worker_dead_letters_last_check_timestamp_seconds"][()]
