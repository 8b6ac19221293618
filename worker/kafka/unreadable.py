"""Reads on behind records that aiokafka cannot parse.

At such a record aiokafka raises an error, which discards the records that it read before, and at every later poll
again. `ReadablePartitionRecords` returns an `UnreadableRecord` in its place. The records after it in the same record
batch are unreadable too, because aiokafka parses a batch from its start.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import cramjam
import structlog
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch

from worker.core.model import Headers, Record, UnreadableRecord
from worker.kafka.decompression import RecordBatchTooLarge

log = structlog.get_logger(__name__)

UNREADABLE = (
    RecordBatchTooLarge,
    UnicodeDecodeError,
    CorruptRecordException,
    UnsupportedCodecError,
    AssertionError,
    SystemError,
    cramjam.DecompressionError,
    struct.error,
)
"""aiokafka raises these on a record, or a record batch, that it cannot parse. Of such records Apache Kafka accepts only
those with header names that are not UTF-8, and batches that inflate to any size; other brokers store any bytes, and old
logs hold what old brokers accepted. AssertionError: a message set is compressed twice. SystemError: a size is below -1.
"""


class ReadRecord(NamedTuple):
    """A `Record` as it was read. aiokafka's own has four fields more, and takes longer to make."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class _RecordBatches:
    """The record batches of one partition in the answer to a fetch.

    Attributes:
        current: the last that was returned; None if it has no valid header.
        returned: how many were returned.
    """

    def __init__(self, batches: Any) -> None:  # noqa: ANN401 - aiokafka ships no types
        self._batches = batches
        self.has_next = batches.has_next
        self.current: Any = None
        self.returned = 0

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka ships no types
        self.current = None
        batch = self._batches.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException("the checksum of the record batch is wrong")
        self.current = batch
        self.returned += 1
        return batch


class ReadablePartitionRecords:
    """The records of one partition in the answer to a fetch, as an iterator; never raises one of `UNREADABLE`.

    Args:
        partition, batches, others: as aiokafka's `PartitionRecords`, which this replaces.
    """

    def __init__(self, partition: Any, batches: Any, *others: Any) -> None:  # noqa: ANN401 - aiokafka ships no types
        self._unpacker = _Unpacker(partition, _RecordBatches(batches), *others)
        # Kept apart from what it refers to: in a cycle, the bytes of a fetch that a pause discards, and what a batch
        # has inflated to, would stay until Python collects garbage, which is rare in the worker.
        self._unread = self._unpacker.unpack()

    @property
    def next_fetch_offset(self) -> int:
        """The offset after the last record that was returned."""
        return self._unpacker.next_fetch_offset

    def __iter__(self) -> Iterator[Record]:
        return self._unread

    def __next__(self) -> Record:
        return next(self._unread)


class _Unpacker(PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Makes records of record batches."""

    next_fetch_offset: int

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - aiokafka ships no types
        super().__init__(*arguments)
        self._check_crcs = False  # `_RecordBatches` does: behind a wrong checksum no offset of the header is true
        self._records_iterator = None

    def unpack(self) -> Iterator[Record]:
        """The records; an `UnreadableRecord` in place of what cannot be parsed."""
        while True:
            try:
                yield from self._unpack_records()
            except UNREADABLE as error:
                if self._records.current is None and self._records.returned:
                    # aiokafka parses every batch in the format of the first one, and a log can begin in an old format.
                    return  # it is fetched again, as the first one
                too_large, why = isinstance(error, RecordBatchTooLarge), f"{error}"
                self._log_unreadable(type(error).__name__, why)
            else:
                return
            # Not in `except`: the error would keep what was inflated while a record is yielded.
            batch = self._records.current
            if too_large:
                yield self._stand_for_batch(batch, why)
            elif batch is None:  # it is fetched again, from the next offset on
                yield self._stand_for_record()
                return
            else:
                # The offsets before it may be gaps.
                self.next_fetch_offset = max(self.next_fetch_offset, self._first_offset(batch))
                while self.next_fetch_offset < batch.next_offset:
                    yield self._stand_for_record()

    def _log_unreadable(self, error: str, why: str) -> None:
        batch = self._records.current
        log.warning(
            "a record batch cannot be read",
            topic=self._tp.topic,
            partition=self._tp.partition,
            offset=self.next_fetch_offset,
            records=batch.next_offset - self.next_fetch_offset if batch else 1,
            error=f"{error}: {why}",
        )

    def _stand_for_record(self) -> UnreadableRecord:
        offset = self.next_fetch_offset
        self.next_fetch_offset += 1
        return UnreadableRecord(self._tp.topic, self._tp.partition, offset)

    def _stand_for_batch(self, batch: Any, why: str) -> UnreadableRecord:  # noqa: ANN401 - aiokafka ships no types
        """One for all records: a batch of 20 kB can hold a hundred million."""
        first, last = self._first_offset(batch), batch.next_offset - 1
        self.next_fetch_offset = batch.next_offset
        reason = f"none of the records at {first} to {last} can be read: {why}"
        return UnreadableRecord(self._tp.topic, self._tp.partition, last, reason=reason, first_offset=first)

    def _first_offset(self, batch: Any) -> int:  # noqa: ANN401 - aiokafka ships no types
        """The offset of the first record of a batch, or the next one: headers before format 2 have only the last."""
        first: int = batch.base_offset if isinstance(batch, DefaultRecordBatch) else self.next_fetch_offset
        return first

    def _contains_abort_marker(self, next_batch: Any) -> bool:  # noqa: ANN401 - aiokafka ships no types
        """Whether a control batch aborts its transaction; compaction removes the record and leaves the header."""
        marker = next(next_batch, None)
        return marker is not None and ControlRecord.parse(marker.key) == ABORT_MARKER

    def _consumer_record(self, tp: Any, record: Any) -> ReadRecord:  # noqa: ANN401 - aiokafka ships no types
        timestamp = record.timestamp
        fields = (
            tp.topic,
            tp.partition,
            record.offset,
            -1 if timestamp is None else timestamp,  # format 0 has none
            record.key,
            record.value,
            tuple(record.headers),
        )
        return tuple.__new__(ReadRecord, fields)  # 0.2 µs less than a call of the class
