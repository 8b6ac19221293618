"""The topic of events is deleted while a worker reads it, and created again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.errors import TopicAlreadyExistsError

from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import KafkaServer, create_topics
from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload
from tests.support.event_sources import EventSources, open_event_sources, poll_records, wait_until_member
from tests.support.local import Topics, fresh_name, wait_until
from tests.support.topic import delete_topic, send
from worker.core.errors import DependencyError
from worker.kafka.connection import require_topics
from worker.kafka.target import KafkaTarget
from worker.ports import Partition


@pytest.fixture
async def sources() -> AsyncIterator[EventSources]:
    async with open_event_sources() as sources:
        yield sources


async def create_topic_again(servers: str, topic: str) -> None:
    """Kafka deletes a topic in the background."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await create_topics(servers, {topic: 4})
            except TopicAlreadyExistsError:
                await asyncio.sleep(0.01)


def is_missing(worker: WorkerProcess) -> bool:
    return "was deleted" in worker.readiness().get("topic", "")


@pytest.mark.parametrize("partitions", [4, 2], ids=["same partitions", "fewer"])
async def test_worker_is_not_ready_without_its_topic_and_reads_the_new_one_from_its_start(
    start_worker: StartWorker, workload: Workload, partitions: int
) -> None:
    worker = start_worker()
    await workload.send(300, partition=1)
    workload.wait_until_written()
    await delete_topic(workload.servers, workload.topic)
    wait_until(lambda: is_missing(worker), "the worker is not ready", 30)
    assert worker.telemetry()["metrics_worker_holding"]["topic",] == 1
    await create_topics(workload.servers, {workload.topic: partitions})
    await workload.send(400, partition=1)
    workload.wait_until_written()
    wait_until(lambda: not worker.readiness(), "the worker is ready again", 30)
    assert worker.telemetry()["metrics_worker_holding"]["topic",] == 0
    worker.stop()
    assert (await workload.committed_offsets(partitions))[1] == 400
    log = worker.process.output()
    assert (log.count('"the topic is missing"'), log.count('"the topic is back"')) == (1, 1)


async def test_topic_created_again_at_once_is_read_from_its_start(
    start_worker: StartWorker, workload: Workload
) -> None:
    worker = start_worker()
    await workload.send(300, partition=1)
    workload.wait_until_written()
    await delete_topic(workload.servers, workload.topic)
    await create_topic_again(workload.servers, workload.topic)
    await workload.send(400, partition=1)
    workload.wait_until_written()
    worker.stop()
    assert (await workload.committed_offsets())[1] == 400


async def test_topic_created_again_while_paused_is_read_from_its_start(
    broker: KafkaServer, topics: Topics, sources: EventSources
) -> None:
    """Nothing is fetched meanwhile, and the new topic has a record at the position: only its id is different."""
    servers, topic = broker.bootstrap_servers, topics.events
    numbers = [b"%d" % number for number in range(100)]
    await send(servers, topic, numbers[:50], partition=1)
    source = await sources.open(servers, topic, fresh_name("group"))
    await poll_records(source, 50)
    await source.commit({Partition(topic, 1): 50})
    await source.pause()
    await asyncio.sleep(6)  # the id is requested every 5 s
    await delete_topic(servers, topic)
    await create_topic_again(servers, topic)
    await send(servers, topic, numbers, partition=1)
    async with asyncio.timeout(20):
        while not source._topic_monitor.replaced:
            await source.pause()
            await asyncio.sleep(0.1)
    source.resume()
    records = await poll_records(source, 100)
    assert [record.offset for record in records] == list(range(100))


async def test_worker_does_not_create_its_topic_again(tmp_path: Path, sources: EventSources) -> None:
    """By default a broker creates each topic that a client requests by name, unless the request says otherwise."""
    with ApacheKafka(tmp_path, settings={"auto.create.topics.enable": "true"}) as broker:
        servers, topic = broker.bootstrap_servers, fresh_name("events")
        await create_topics(servers, {topic: 4})
        source = await sources.open(servers, topic, fresh_name("group"))
        await wait_until_member(source)
        await delete_topic(servers, topic)
        async with asyncio.timeout(30):
            while source.topic_problem is None:
                await source.poll(1, 1, 0.2)
        for _ in range(30):
            await source.poll(1, 1, 0.2)
        assert source.topic_problem
        with pytest.raises(DependencyError, match="does not exist"):
            await require_topics(KafkaTarget(servers), [topic])
        await source.close()
