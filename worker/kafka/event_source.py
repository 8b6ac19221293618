"""The inbox: one topic, read as a member of a consumer group.

aiokafka's defaults would lose data in two places and are set against them: offsets begin at the latest record, and are
committed by the clock.
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
"""How long a partition may be silent, reading one by one, before the next one's turn. Longer than a fetch of others may
keep the broker busy (0.5 s), else nothing would ever come of it."""

_UNREADABLE = (
    UnicodeDecodeError,
    CorruptRecordException,
    cramjam.DecompressionError,
    BadGzipFile,
    EOFError,
    zlib.error,
)
"""What aiokafka raises on a record, or a whole record batch, that it cannot parse. Apache Kafka lets through only names
of headers that are not UTF-8; other brokers store any bytes."""


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
        self._next: dict[TopicPartition, int] = {}
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
        self._looking_ahead: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect; the group is joined by `subscribe`.

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
        """Join the group, and tell `listener` of rebalances."""
        self._membership = Membership(
            self._consumer, self._target, self._group, listener, self._telemetry, self._forget
        )
        self._consumer.subscribe([self._topic], listener=self._membership)

    def _forget(self) -> None:
        self._next.clear()
        self.lag.forget()

    def is_group_member(self) -> bool:
        """Whether this is a member of the group whose partitions, if any, are settled, and whose coordinator answers.

        While a broker is silent aiokafka waits for it: polls are empty, and nothing is revoked.
        """
        if self._membership is None or not self._membership.joined:
            return False
        return self._consumer._coordinator.coordinator_id is not None  # noqa: SLF001 - there is no public way

    @property
    def has_been_group_member(self) -> bool:
        """Whether this has been a member of the group since it was started."""
        return self._membership is not None and self._membership.has_been_group_member

    async def stop(self) -> None:
        """Leave the group and disconnect."""
        if self._looking_ahead is not None:
            self._looking_ahead.cancel()
        await stop_client(self._consumer.stop())

    async def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """See `worker.ports.EventSource`."""
        try:
            with self._tracing.span("poll", topic=self._topic):
                some = await self._getmany(timeout_seconds, max_records)
        except _UNREADABLE:
            return await self._step_over_unreadable(max_records)
        return list(chain.from_iterable(some.values()))

    async def _getmany(
        self, timeout_seconds: float, max_records: int, *partitions: TopicPartition
    ) -> dict[TopicPartition, list[Record]]:
        if self._membership and self._membership.lost:
            raise self._membership.lost
        # aiokafka looks at this task nowhere: when it ends, every poll is empty for ever and all looks well.
        fetching = self._consumer._fetcher.error_future  # noqa: SLF001 - there is no public way
        if fetching.done():
            raise DependencyError(f"the Kafka client has stopped fetching: {fetching}")
        try:
            some: dict[TopicPartition, list[Record]] = await self._consumer.getmany(
                *partitions, timeout_ms=int(timeout_seconds * 1000), max_records=max_records
            )
        except CorruptRecordException:
            raise  # of one record batch; the others may be sound
        except KafkaError as error:
            if self._membership and (taken := await self._membership.find_fencing_error()):
                raise taken from error
            raise DependencyError(f"Kafka refuses {self._topic}: {type(error).__name__}: {error}") from error
        for partition, records in some.items():
            self._next[partition] = records[-1].offset + 1
            self.lag.took(partition, records[0].offset, records[0].timestamp, records[-1].offset + 1)
        return some

    async def _step_over_unreadable(self, max_records: int) -> Sequence[Record]:
        """Read one record at a time, and over those that aiokafka cannot parse.

        When aiokafka meets such a record it throws away what it had read before it, moves on in its own books all the
        same, and meets it again at every poll. So go back to what was handed out last, and come to it with nothing else
        in hand: then its position is known. What follows it in its record batch cannot be reached either, because
        aiokafka parses a batch from its beginning.
        """
        partitions = self._consumer.assignment()
        await self._go_back(partitions)
        records: list[Record] = []
        for partition in partitions:
            while len(records) < max_records:
                try:
                    some = await self._getmany(_ONE_RECORD_SECONDS, 1, partition)
                except _UNREADABLE:
                    records.append(await self._step_over(partition))
                    continue
                if not some:
                    break
                records += some[partition]
        return records

    async def _step_over(self, partition: TopicPartition) -> UnreadableRecord:
        offset = await self._consumer.position(partition)
        self._consumer.seek(partition, offset + 1)
        self._next[partition] = offset + 1
        self.lag.took(partition, offset, -1, offset + 1)
        log.warning("stepped over a record that cannot be parsed", partition=partition.partition, offset=offset)
        return UnreadableRecord(partition.topic, partition.partition, offset)

    async def _go_back(self, partitions: Collection[TopicPartition]) -> None:
        for partition in partitions:
            # Not seek_to_committed: aiokafka 0.14 stays where it is when nothing, or offset 0, is committed.
            offset = self._next.get(partition)
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
            raise DependencyError(f"Kafka does not tell what is committed: {error}") from error
        return offset

    async def pause(self) -> None:
        """See `worker.ports.EventSource`."""
        if self._looking_ahead is None or self._looking_ahead.done():
            self._looking_ahead = asyncio.create_task(self.lag.refresh_end_offsets(), name="lag")
        self._consumer.pause(*self._consumer.assignment())
        try:
            some = await self._getmany(0, 1)
        except _UNREADABLE:
            await self._go_back(self._consumer.assignment())
            return
        for partition, records in some.items():
            # A rebalance has come in between and brought a partition that was not paused: give the record back.
            self._next[partition] = records[0].offset
            self._consumer.seek(partition, records[0].offset)

    def resume(self) -> None:
        """See `worker.ports.EventSource`."""
        self._consumer.resume(*self._consumer.paused())

    def assignment(self) -> set[Partition]:
        """The partitions owned now."""
        return {Partition(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See `worker.ports.EventSource`. aiokafka alone would try again without end."""
        owned = {TopicPartition(*p): offset for p, offset in offsets.items() if p in self.assignment()}
        if not owned:
            return False
        try:
            with self._tracing.span("commit", partitions=len(owned)):
                async with asyncio.timeout(_COMMIT_SECONDS):
                    await self._consumer.commit(owned)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            # Not committed is not lost: the records come again. A later commit covers these offsets as well.
            self._telemetry.commit_failures.inc()
            log.warning("commit refused", error=f"{type(error).__name__}: {error}", partitions=len(owned))
            return False
        self._telemetry.commits.inc()
        for partition, offset in owned.items():
            self.lag.committed(partition, offset)
        return True
