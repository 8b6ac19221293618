"""Topics compressed by librdkafka; the other suites have those of aiokafka."""

import pytest
from confluent_kafka import Producer

from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload, events


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_topics_compressed_by_librdkafka_are_read(
    start_worker: StartWorker, workload: Workload, compression: str
) -> None:
    producer = Producer(
        {"bootstrap.servers": workload.servers, "compression.type": compression, "linger.ms": 50, "acks": "all"}
    )
    for value in events(500):
        producer.produce(workload.topic, value)
    assert producer.flush(30) == 0
    workload.sent = 500
    start_worker()
    workload.wait_until_written()
    await workload.assert_each_once()
