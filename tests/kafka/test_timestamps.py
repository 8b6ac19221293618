"""Records whose timestamp is the broker's, which all records of a batch share."""

import pytest
from clickhouse_driver import Client
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload
from tests.support.commands import Commands
from tests.support.events import JANUARY_2026, encoded, event
from tests.support.local import wait_until
from tests.support.topic import read

_SECONDS = 30


def let_the_broker_set_timestamps(servers: str, topic: str) -> None:
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers})
    (altered,) = admin.incremental_alter_configs([resource]).values()
    altered.result(_SECONDS)


@pytest.mark.usefixtures("not_negative")
async def test_correction_in_the_same_record_batch_stays_when_what_it_corrects_is_replayed(
    workload: Workload, start_worker: StartWorker, clickhouse: Client, environment: dict[str, str]
) -> None:
    let_the_broker_set_timestamps(workload.servers, workload.topic)
    producer = Producer({"bootstrap.servers": workload.servers, "linger.ms": 100, "acks": "all"})
    for number, value in enumerate((1, 2, -1, 3)):
        # The producer's own clock goes backwards, and the broker ignores it.
        document = encoded(event(metrics={"a": value}))
        producer.produce(workload.topic, document, b"key", partition=0, timestamp=JANUARY_2026 - number)
    assert producer.flush(_SECONDS) == 0
    records = await read(workload.servers, workload.topic, 4)
    assert len({record.timestamp for record in records}) == 1, "they are one record batch"
    assert records[0].timestamp > JANUARY_2026

    start_worker()
    wait_until(lambda: workload.count_view() == 1, "the last event")
    assert len(await read(workload.servers, workload.dlq_topic, 1)) == 1
    clickhouse.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    assert Commands(environment).replay()["metrics_written"] == 1
    assert clickhouse.execute(
        "SELECT metric_value, source_offset, toUnixTimestamp64Milli(recorded_at) FROM execution_metrics_deduplicated"
    ) == [(3.0, 3, records[0].timestamp)]
    (sums,) = Commands(environment).json("audit")
    assert (sums["sums"]["in_view"], sums["sums"]["superseded"]) == (1, 3)
