"""The lag of a partition whose position was moved, on a consumer that is not connected."""

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from worker.kafka.lag import LagTracker

PARTITION = TopicPartition("execution-completed", 1)
NOW = 10_000.0
"""Seconds."""


@pytest.mark.parametrize(
    ("start", "records", "seconds"),
    [
        pytest.param(0, 100, 1.0, id="what was read of a log that is gone does not count"),
        pytest.param(60, 100, NOW, id="what was read before expired records is in flight"),
    ],
)
async def test_lag_after_the_position_was_moved(start: int, records: int, seconds: float) -> None:
    consumer = AIOKafkaConsumer()
    try:
        consumer.assign([PARTITION])
        lag = LagTracker(consumer, clock=lambda: NOW)
        lag.record_poll(PARTITION, 0, 0, 50)
        lag.restart(PARTITION, start)
        lag.record_poll(PARTITION, start, int(NOW * 1000) - 1000, 100)
        consumer._subscription.subscription.assignment.state_value(PARTITION).seek(100)  # `seek` needs a connection
        (found,) = lag
        assert (found.records, found.seconds) == (records, seconds)
    finally:
        await consumer.stop()
