"""Compressed topics as librdkafka writes them; the suites have those of aiokafka."""

import pytest
from confluent_kafka import Producer

from tests.integration.conftest import StartWorker
from tests.kafka.loaded import Loaded, events


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_topics_that_librdkafka_has_compressed(
    start_worker: StartWorker, loaded: Loaded, compression: str
) -> None:
    producer = Producer(
        {"bootstrap.servers": loaded.servers, "compression.type": compression, "linger.ms": 50, "acks": "all"}
    )
    for value in events(500):
        producer.produce(loaded.topic, value)
    assert producer.flush(30) == 0
    loaded.put = 500
    start_worker()
    loaded.wait_for_all()
    await loaded.assert_each_once()
