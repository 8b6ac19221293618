"""The dead-letter topic is deleted while a worker runs that has no dead letter to write."""

import asyncio
from pathlib import Path

from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload, count_dead_letters
from tests.support.local import fresh_name, wait_until
from tests.support.topic import delete_topic, send, size
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_producer import open_producer


async def test_worker_holds_while_the_dead_letter_topic_is_missing_and_resumes_when_it_is_back(
    workload: Workload, start_worker: StartWorker
) -> None:
    worker = start_worker()
    await workload.send(10)
    workload.wait_until_written()
    await delete_topic(workload.servers, workload.dlq_topic)
    wait_until(lambda: "UnknownTopic" in worker.readiness().get("dead_letters", ""), "the worker holds", 30)
    assert worker.telemetry()["metrics_worker_holding"]["dead_letters",] == 1
    await create_topics(workload.servers, {workload.dlq_topic: 1})
    wait_until(lambda: not worker.readiness(), "the worker has resumed", 30)
    await workload.send(10)
    await send(workload.servers, workload.topic, [b"garbage"], partition=0)
    workload.wait_until_written()
    wait_until(lambda: count_dead_letters(worker) == 1, "the dead letter")
    worker.stop()
    assert await size(workload.servers, workload.dlq_topic) == 1


async def test_worker_does_not_create_the_dead_letter_topic(tmp_path: Path) -> None:
    with ApacheKafka(tmp_path, settings={"auto.create.topics.enable": "true"}) as broker:
        servers, topic = broker.bootstrap_servers, fresh_name("letters")
        async with open_producer(KafkaTarget(servers), topic, idempotent=True) as producer:
            for _ in range(3):
                await asyncio.gather(producer.find_leaderless_partitions(), return_exceptions=True)
        await create_topics(servers, {topic: 1})
