"""A consumer whose memory is bounded, whatever the records are.

What aiokafka keeps of a fetch is compressed. It inflates one record batch at a time, when a poll reaches it. So what
must be bounded is the bytes of a fetch, of one inflated record batch, and of the records that a poll returns.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher

from worker.core.model import Record, size_of
from worker.kafka.decompression import bound_decompression
from worker.kafka.record_headers import check_records
from worker.kafka.target import KafkaTarget
from worker.kafka.unreadable import ReadablePartitionRecords

_FETCH_BYTES = 16 * 1024 * 1024
"""Compressed bytes in the answer of one broker, if no record batch alone is larger."""


@dataclass
class ByteBudget:
    """Bytes of keys, values and headers that a poll may return; what is left afterwards, below 0 at times."""

    left: int


_budget: ContextVar[ByteBudget | None] = ContextVar("bytes that a poll may return", default=None)


class BoundedFetchResult(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka ships no types
    """What is left of a fetch of one partition; returns no more than the budget of the poll."""

    _partition_records: ReadablePartitionRecords | None

    def getall(self, max_records: int | None = None) -> list[Record]:
        """The next records: `max_records` at most, and none after the one that exceeds the budget."""
        budget = _budget.get()
        if budget is None:
            unbounded: list[Record] = super().getall(max_records)
            return unbounded
        unread = self._partition_records if self.check_assignment(self._topic_partition) else None
        if budget.left <= 0 or unread is None:
            return []
        records: list[Record] = []
        left = budget.left
        for record in unread:
            records.append(record)
            left -= size_of(record)
            if left <= 0 or len(records) == max_records:
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records = None
        budget.left = left
        return records


def create_consumer(target: KafkaTarget, **options: Any) -> AIOKafkaConsumer:  # noqa: ANN401 - options of aiokafka
    """A consumer that is not started yet. It reads an `UnreadableRecord` for what aiokafka cannot parse.

    Raises:
        ImportError: this version of aiokafka cannot be bounded in this way.
    """
    bound_decompression(check_records)
    for name, replacement in (("PartitionRecords", ReadablePartitionRecords), ("FetchResult", BoundedFetchResult)):
        if not hasattr(fetcher, name):
            raise ImportError(f"aiokafka.consumer.fetcher has no {name}: the memory of a consumer cannot be bounded")
        setattr(fetcher, name, replacement)
    return AIOKafkaConsumer(**target.options(), fetch_max_bytes=_FETCH_BYTES, **options)


async def poll_bounded(
    consumer: AIOKafkaConsumer,
    *partitions: TopicPartition,
    timeout_ms: int,
    max_records: int,
    budget: ByteBudget,
) -> Mapping[TopicPartition, list[Record]]:
    """`getmany` of `partitions`, or of all; the record that spends `budget` is the last one."""
    token = _budget.set(budget)
    try:
        polled: dict[TopicPartition, list[Record]] = await consumer.getmany(
            *partitions, timeout_ms=timeout_ms, max_records=max_records
        )
    finally:
        _budget.reset(token)
    return polled
