"""Dead letters are stored once, even if the answer of the broker is lost and they are sent again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.record import MemoryRecords

from deploy.local.apache_kafka.listener import Listener
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload
from tests.support.events import event, read
from tests.support.local import wait_until
from tests.support.proxy import FaultProxy
from tests.support.topic import send, size
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.dead_letters.dead_letter import WorkerInfo
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_producer import open_producer

HEAD = WorkerInfo(version="1.2.3", table="default.execution_metrics")
REFUSED = FailedMetric(read(event()), "m", 0.5, Failure(ErrorClass.ROW_REFUSED, "X", "x", 469), attempts=2)
NO_PRODUCER = -1


@pytest.mark.parametrize(("idempotent", "stored"), [(True, 2), (False, 3)])
async def test_lost_answer_leaves_one_dead_letter_with_idempotence(
    tmp_path: Path, idempotent: bool, stored: int
) -> None:
    listener = Listener("PROXIED")
    async with FaultProxy(listener.port) as proxy:
        listener.advertised_port = proxy.port
        with ApacheKafka(tmp_path, listeners=[listener]) as broker:
            await create_topics(broker.bootstrap_servers, {"dlq": 1})
            target = KafkaTarget(f"127.0.0.1:{proxy.port}")
            async with open_producer(target, "dlq", idempotent=idempotent) as producer:
                dead_letters = KafkaDeadLetterSink(producer, HEAD, timeout_seconds=20.0)
                await dead_letters.write([REFUSED])  # opens the connection, which then has only produce requests
                proxy.lose_answer_after(1)
                await dead_letters.write([REFUSED])
            assert proxy.cuts
            assert await size(broker.bootstrap_servers, "dlq") == stored


@pytest.mark.usefixtures("not_negative")
async def test_worker_writes_dead_letters_as_an_idempotent_producer(
    broker: ApacheKafka, start_worker: StartWorker, workload: Workload, environment: dict[str, str]
) -> None:
    assert environment["KAFKA_PRODUCER_IDEMPOTENCE"] == "true"
    start_worker()
    await send(workload.servers, workload.topic, [b"garbage"] * 10)
    wait_until(lambda: sum(1 for _ in producer_ids(broker, workload.dlq_topic)) > 0, "dead letters are on disk")
    assert await size(workload.servers, workload.dlq_topic) == 10
    assert NO_PRODUCER not in producer_ids(broker, workload.dlq_topic)
    assert set(producer_ids(broker, workload.topic)) == {NO_PRODUCER}, "an ordinary producer has no id"


def producer_ids(broker: ApacheKafka, topic: str) -> Iterator[int]:
    """The producer id of each batch of records, as the broker keeps them."""
    for segment in sorted(broker.data.glob(f"{topic}-*/*.log")):
        assert re.fullmatch(r"\d{20}\.log", segment.name)
        records = MemoryRecords(segment.read_bytes())
        while (batch := records.next_batch()) is not None:
            yield batch.producer_id
