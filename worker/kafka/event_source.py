"""The event source: one topic, read as a member of a consumer group.

Two defaults of aiokafka would lose data and are changed: a new group starts at the latest record, and offsets are
committed periodically.
"""

import asyncio
import zlib
from collections.abc import Collection, Mapping, Sequence
from gzip import BadGzipFile
from itertools import chain

import cramjam
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, IllegalStateError, KafkaError

from worker.core.errors import DependencyError
from worker.core.model import Record, UnreadableRecord
from worker.kafka.connection import CONNECT_SECONDS, KafkaTarget, diagnose_unreachable, stop_client
from worker.kafka.lag import LagTracker
from worker.kafka.membership import GroupPolicy, Membership
from worker.observability.telemetry import Telemetry
from worker.observability.tracing import NO_TRACING, Tracing
from worker.ports import Partition, RevokeListener

log = structlog.get_logger(__name__)

_COMMIT_SECONDS = 10.0
_ONE_RECORD_SECONDS = 1.5
"""While records are read one by one: how long to wait for a record of a partition before reading the next partition.
Longer than the broker may take for fetches of others (0.5 s), else no record would ever arrive."""

_UNREADABLE = (
    UnicodeDecodeError,
    CorruptRecordException,
    cramjam.DecompressionError,
    BadGzipFile,
    EOFError,
    zlib.error,
)
"""aiokafka raises these on a record, or a record batch, that it cannot parse. Of such records Apache Kafka accepts only
those with header names that are not UTF-8; other brokers store any bytes."""


class KafkaEventSource:
    """The `EventSource` of `worker.ports` on one topic."""

    def __init__(
        self, target: KafkaTarget, topic: str, group: GroupPolicy, telemetry: Telemetry, tracing: Tracing = NO_TRACING
    ) -> None:
        self._target = target
        self._group = group
        self._topic = topic
        self._telemetry = telemetry
        self._tracing = tracing
        self._membership: Membership | None = None
        self._next_offsets: dict[TopicPartition, int] = {}
        self._consumer = AIOKafkaConsumer(
            **target.options(),
            group_id=group.group_id,
            group_instance_id=group.instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(group.session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(group.session_timeout_seconds * 1000 / 15),
            metadata_max_age_ms=int(group.metadata_max_age_seconds * 1000),
            rebalance_timeout_ms=int(group.rebalance_timeout_seconds * 1000),
        )
        target.renew_credentials(self._consumer._client)  # noqa: SLF001 - there is no public way
        self.lag = LagTracker(self._consumer)
        self._lag_refresh: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect; `subscribe` joins the group.

        Raises:
            DependencyError: no broker answers.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._consumer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self._consumer.stop()
            raise await diagnose_unreachable(self._target, error) from error

    def subscribe(self, listener: RevokeListener) -> None:
        """Join the group, and notify `listener` of rebalances."""
        self._membership = Membership(
            self._consumer, self._target, self._group, listener, self._telemetry, self._reset_positions
        )
        self._consumer.subscribe([self._topic], listener=self._membership)

    def _reset_positions(self) -> None:
        self._next_offsets.clear()
        self.lag.reset()

    def is_group_member(self) -> bool:
        """Whether this is a member of the group, no rebalance is in progress, and the coordinator answers.

        While the broker does not answer, aiokafka waits: polls are empty, and nothing is revoked.
        """
        if self._membership is None or not self._membership.is_member:
            return False
        return self._consumer._coordinator.coordinator_id is not None  # noqa: SLF001 - there is no public way

    @property
    def has_been_group_member(self) -> bool:
        """Whether this has ever been a member of the group."""
        return self._membership is not None and self._membership.has_been_group_member

    async def stop(self) -> None:
        """Leave the group and disconnect."""
        if self._lag_refresh is not None:
            self._lag_refresh.cancel()
        await stop_client(self._consumer.stop())

    async def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """See `worker.ports.EventSource`."""
        try:
            with self._tracing.span("poll", topic=self._topic):
                some = await self._getmany(timeout_seconds, max_records)
        except _UNREADABLE:
            return await self._poll_one_by_one(max_records)
        return list(chain.from_iterable(some.values()))

    async def _getmany(
        self, timeout_seconds: float, max_records: int, *partitions: TopicPartition
    ) -> dict[TopicPartition, list[Record]]:
        if self._membership and self._membership.fenced:
            raise self._membership.fenced
        # aiokafka does not check this task: if it ends, every poll is empty for ever, without an error.
        fetch_task = self._consumer._fetcher.error_future  # noqa: SLF001 - there is no public way
        if fetch_task.done():
            raise DependencyError(f"the Kafka client has stopped fetching: {fetch_task}")
        try:
            some: dict[TopicPartition, list[Record]] = await self._consumer.getmany(
                *partitions, timeout_ms=int(timeout_seconds * 1000), max_records=max_records
            )
        except CorruptRecordException:
            raise  # from one record batch; others may be valid
        except KafkaError as error:
            if self._membership and (fenced := await self._membership.find_fencing_error()):
                raise fenced from error
            raise DependencyError(f"Kafka refuses {self._topic}: {type(error).__name__}: {error}") from error
        for partition, records in some.items():
            self._next_offsets[partition] = records[-1].offset + 1
            self.lag.record_poll(partition, records[0].offset, records[0].timestamp, records[-1].offset + 1)
        return some

    async def _poll_one_by_one(self, max_records: int) -> Sequence[Record]:
        """Read one record at a time, and skip those that aiokafka cannot parse.

        At such a record aiokafka discards the records that it read before, advances its position all the same, and
        fails again at every poll. So seek back to the last returned records, and read until it fails with nothing else
        read: then its position is that of the record. The records after it in the same record batch are lost too,
        because aiokafka parses a batch from its start.
        """
        partitions = self._consumer.assignment()
        await self._seek_to_next_offsets(partitions)
        records: list[Record] = []
        for partition in partitions:
            while len(records) < max_records:
                try:
                    some = await self._getmany(_ONE_RECORD_SECONDS, 1, partition)
                except _UNREADABLE:
                    records.append(await self._skip_unreadable(partition))
                    continue
                if not some:
                    break
                records += some[partition]
        return records

    async def _skip_unreadable(self, partition: TopicPartition) -> UnreadableRecord:
        offset = await self._consumer.position(partition)
        self._consumer.seek(partition, offset + 1)
        self._next_offsets[partition] = offset + 1
        self.lag.record_poll(partition, offset, -1, offset + 1)
        log.warning("skipped a record that cannot be parsed", partition=partition.partition, offset=offset)
        return UnreadableRecord(partition.topic, partition.partition, offset)

    async def _seek_to_next_offsets(self, partitions: Collection[TopicPartition]) -> None:
        for partition in partitions:
            # Not seek_to_committed: in aiokafka 0.14 it does nothing if nothing, or offset 0, is committed.
            offset = self._next_offsets.get(partition)
            if offset is None:
                offset = await self._committed(partition)
            if offset is None:
                await self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek(partition, offset)

    async def _committed(self, partition: TopicPartition) -> int | None:
        try:
            offset: int | None = await self._consumer.committed(partition)
        except KafkaError as error:
            raise DependencyError(f"Kafka does not return the committed offset: {error}") from error
        return offset

    async def pause(self) -> None:
        """See `worker.ports.EventSource`."""
        if self._lag_refresh is None or self._lag_refresh.done():
            self._lag_refresh = asyncio.create_task(self.lag.refresh_end_offsets(), name="lag")
        self._consumer.pause(*self._consumer.assignment())
        try:
            some = await self._getmany(0, 1)
        except _UNREADABLE:
            await self._seek_to_next_offsets(self._consumer.assignment())
            return
        for partition, records in some.items():
            # A rebalance in between has assigned a partition that is not paused: read its record again later.
            self._next_offsets[partition] = records[0].offset
            self._consumer.seek(partition, records[0].offset)

    def resume(self) -> None:
        """See `worker.ports.EventSource`."""
        self._consumer.resume(*self._consumer.paused())

    def assignment(self) -> set[Partition]:
        """The partitions owned now."""
        return {Partition(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See `worker.ports.EventSource`. Without a time-out aiokafka would retry for ever."""
        owned = {TopicPartition(*p): offset for p, offset in offsets.items() if p in self.assignment()}
        if not owned:
            return False
        try:
            with self._tracing.span("commit", partitions=len(owned)):
                async with asyncio.timeout(_COMMIT_SECONDS):
                    await self._consumer.commit(owned)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            # No record is lost: it is read again, or a later commit covers these offsets as well.
            self._telemetry.commit_failures.inc()
            log.warning("commit refused", error=f"{type(error).__name__}: {error}", partitions=len(owned))
            return False
        self._telemetry.commits.inc()
        for partition, offset in owned.items():
            self.lag.record_commit(partition, offset)
        return True
