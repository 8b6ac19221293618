"""Where to continue when Kafka has no record at the position: what Kafka calls `auto.offset.reset`, decided here.

aiokafka would reset the position itself, and say so only at INFO, without a count. So its own reset is off (`none`),
and it raises one of `NO_POSITION` instead. Only a comparison with the start of the log shows a loss: offsets without a
record are normal, because markers of transactions have offsets, and compaction removes records.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchError
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from worker.observability.telemetry import Telemetry

log = structlog.get_logger(__name__)

NO_POSITION = (OffsetOutOfRangeError, NoOffsetForPartitionError)
"""aiokafka raises these when a position is outside the log, or no offset is committed, and its own reset is off."""

_REQUEST_SECONDS = 5.0
_COLLECT_SECONDS = 0.1
"""In this time aiokafka finds the other partitions without a position: all at once after a rebalance."""


class LogBounds(NamedTuple):
    """The offset of the first record of a partition's log, and the offset after the last one."""

    start: int
    end: int


async def reset_positions(
    consumer: AIOKafkaConsumer, error: KafkaError, telemetry: Telemetry
) -> Mapping[TopicPartition, int]:
    """Move positions to the start of the log; log and count why.

    Those are the positions of `error`, one of `NO_POSITION`, and of the errors that later polls would raise.

    - **Below the start**: retention or DeleteRecords has deleted records that were not read. They have expired.
    - **Beyond the end**: the log is shorter than what was read. An unclean leader election has truncated it, or the
      topic was deleted and created again. Nothing says which of its records are new, so all are read again. That loses
      none, and changes nothing in the de-duplicated view: the same record makes the same row.
    - **Nothing is committed**: the group is new, or Kafka has forgotten its offsets.

    Returns:
        The new positions; none if Kafka does not answer, or a rebalance has taken the partitions. Then the next poll
        raises again.
    """
    await asyncio.sleep(_COLLECT_SECONDS)
    positions = _collect_positions(consumer, error)
    bounds = await _fetch_bounds(consumer, positions)
    for partition, log_bounds in bounds.items():
        _report(partition, positions[partition], log_bounds, telemetry)
    return _seek_to_start(consumer, bounds)


async def restart_logs(consumer: AIOKafkaConsumer, telemetry: Telemetry) -> Mapping[TopicPartition, int]:
    """Move all positions to the start: the topic is a new one of the same name, and positions of the old mean nothing.

    Returns:
        The new positions; none if Kafka does not answer.
    """
    bounds = await _fetch_bounds(consumer, consumer.assignment())
    for partition in bounds:
        log.warning(
            "the topic was created again, reading it from its start",
            topic=partition.topic,
            partition=partition.partition,
            to_offset=bounds[partition].start,
            records=bounds[partition].end - bounds[partition].start,
        )
        telemetry.kafka.logs_replaced.labels(partition.topic, str(partition.partition)).inc()
    return _seek_to_start(consumer, bounds)


async def _fetch_bounds(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, LogBounds]:
    """The bounds of the logs of the partitions that are still owned; none if Kafka does not answer."""
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            starts = await consumer.beginning_offsets(list(partitions))
            ends = await consumer.end_offsets(list(partitions))
    except (KafkaError, TimeoutError) as failure:
        log.warning("Kafka does not say where the log starts", error=f"{type(failure).__name__}: {failure}")
        return {}
    return {
        partition: LogBounds(starts[partition], ends[partition])
        for partition in consumer.assignment() & set(partitions)
    }


def _seek_to_start(
    consumer: AIOKafkaConsumer, bounds: Mapping[TopicPartition, LogBounds]
) -> Mapping[TopicPartition, int]:
    for partition in bounds:
        consumer.seek(partition, bounds[partition].start)
    return {partition: bounds[partition].start for partition in bounds}


def _collect_positions(consumer: AIOKafkaConsumer, error: KafkaError) -> dict[TopicPartition, int | None]:
    """The partitions with their positions, None where no offset is committed.

    Also those whose error a later poll would raise. aiokafka raises them one by one, and the requests for each wait
    behind a fetch: a new group would need minutes for a thousand partitions.
    """
    waiting = consumer._fetcher._records.values()  # noqa: SLF001 - there is no public way
    positions: dict[TopicPartition, int | None] = {}
    for each in (error, *(found._error for found in waiting if isinstance(found, FetchError))):  # noqa: SLF001
        match each:
            case NoOffsetForPartitionError():
                positions[each.args[0]] = None
            case OffsetOutOfRangeError():
                positions |= each.args[0]
    return positions


def _report(partition: TopicPartition, position: int | None, bounds: LogBounds, telemetry: Telemetry) -> None:
    place = {"topic": partition.topic, "partition": partition.partition}
    if position is None:
        log.info("no offset is committed, reading from the start of the log", **place, to_offset=bounds.start)
        return
    moved = {**place, "from_offset": position, "to_offset": bounds.start}
    if position < bounds.start:
        expired = bounds.start - position
        log.warning("records expired before they were read", **moved, records=expired)
        telemetry.kafka.records_expired.labels(partition.topic, str(partition.partition)).inc(expired)
    else:
        log.warning(
            "the log ends before the position, reading all of it again: it was truncated, or the topic created again",
            **moved,
            end_offset=bounds.end,
            records=bounds.end - bounds.start,
        )
        telemetry.kafka.logs_replaced.labels(partition.topic, str(partition.partition)).inc()
