"""The broker stops and starts again with its data while the worker runs."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from clickhouse_driver import Client

from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload, events
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import headers_of, read, send, size


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ApacheKafka]:
    """A broker that may be killed."""
    with ApacheKafka(tmp_path / "own") as broker:
        yield broker


@pytest.fixture
async def workload(own: ApacheKafka, environment: dict[str, str], clickhouse: Client) -> Workload:
    """Topics on that broker."""
    environment["KAFKA_BOOTSTRAP_SERVERS"] = own.bootstrap_servers
    await create_topics(own.bootstrap_servers, {environment["KAFKA_TOPIC"]: 4, environment["KAFKA_DLQ_TOPIC"]: 1})
    return Workload(environment, clickhouse)


@pytest.mark.parametrize("end", [ApacheKafka.kill, ApacheKafka.stop], ids=["killed", "stopped"])
async def test_restart_of_the_broker_loses_nothing_and_the_worker_continues(
    workload: Workload, own: ApacheKafka, start_worker: StartWorker, end: Callable[[ApacheKafka], None]
) -> None:
    worker = start_worker(BATCH_MAX_EVENTS="100", KAFKA_SESSION_TIMEOUT_SECONDS="6")
    await workload.send(4_000)
    wait_until(lambda: workload.count_view() > 0, "some events are written")
    await asyncio.to_thread(end, own)
    seen = workload.count_view()
    await asyncio.to_thread(own.start)
    await workload.send(1_000)
    workload.wait_until_written()
    await workload.assert_each_once()
    assert seen < workload.count_view(), "the broker stopped too late for this test"
    assert worker.process.running
    wait_until(lambda: not worker.readiness(), "it is ready", 30)
    worker.stop()
    assert await workload.count_committed() == workload.sent


@pytest.mark.usefixtures("not_negative")
async def test_dead_letters_survive_a_restart_of_the_broker(
    workload: Workload, own: ApacheKafka, start_worker: StartWorker
) -> None:
    refused = [encoded(event(execution_id=str(UUID(int=number)), metrics={"bad": -1})) for number in range(300)]
    worker = start_worker(BATCH_MAX_EVENTS="20", KAFKA_SESSION_TIMEOUT_SECONDS="6", KAFKA_DLQ_TIMEOUT_SECONDS="3")
    await send(
        workload.servers, workload.topic, [value for pair in zip(refused, events(300), strict=True) for value in pair]
    )
    workload.sent = 300
    wait_until(lambda: workload.count_view() > 0, "some events are written")
    await asyncio.to_thread(own.kill)
    await asyncio.to_thread(own.start)
    workload.wait_until_written()
    wait_until(lambda: worker.telemetry()["metrics_worker_events_total"][()] >= 600, "all are settled", 30)
    worker.stop()
    assert await workload.count_committed() == 600
    letters = await read(workload.servers, workload.dlq_topic, await size(workload.servers, workload.dlq_topic))
    assert {headers_of(letter)["dlq.execution_id"] for letter in letters} == {str(UUID(int=n)) for n in range(300)}
