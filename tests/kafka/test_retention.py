"""How far retention is behind the worker, and how long a topic keeps its records."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.broker import KafkaServer
from tests.support.event_sources import open_event_sources, poll_records
from tests.support.local import Topics, fresh_name
from tests.support.topic import delete_records, send
from worker.kafka.retention import FOREVER, fetch_retention_seconds
from worker.kafka.target import KafkaTarget
from worker.ports import Partition


@pytest.mark.parametrize(
    ("configuration", "seconds"),
    [
        ({"retention.ms": "90000"}, 90.0),
        ({"retention.ms": "-1"}, FOREVER),
        ({"retention.ms": "90000", "cleanup.policy": "compact"}, FOREVER),
        ({"retention.ms": "90000", "cleanup.policy": "compact,delete"}, 90.0),
    ],
)
async def test_retention_of_a_topic_is_known(
    broker: KafkaServer, configuration: dict[str, str], seconds: float
) -> None:
    topic = fresh_name("events")
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configuration)])
    finally:
        await admin.close()
    target = KafkaTarget(broker.bootstrap_servers)
    async with asyncio.timeout(20):
        while (found := await fetch_retention_seconds(target, topic)) is None:  # noqa: ASYNC110 - Kafka must be polled
            await asyncio.sleep(0.1)  # Kafka acknowledges new topics before every broker knows them
    assert found == seconds


async def test_retention_of_a_missing_topic_is_not_known(broker: KafkaServer) -> None:
    assert await fetch_retention_seconds(KafkaTarget(broker.bootstrap_servers), fresh_name("absent")) is None


async def test_retained_records_are_those_from_the_start_of_the_log_to_the_commit(
    broker: KafkaServer, topics: Topics
) -> None:
    servers, topic = broker.bootstrap_servers, topics.events
    await send(servers, topic, [b"%d" % number for number in range(100)], partition=1)
    await delete_records(servers, topic, {1: 30})
    async with open_event_sources() as sources:
        source = await sources.open(servers, topic, fresh_name("group"))
        await poll_records(source, 70)
        await source.commit({Partition(topic, 1): 80})
        async with asyncio.timeout(20):
            while not (lags := [lag for lag in source.lag if lag.partition == 1]) or lags[0].retained is None:
                await source.poll(1, 1, 0.2)
    assert (lags[0].records, lags[0].log_start, lags[0].retained) == (20, 30, 50)
