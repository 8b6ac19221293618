"""The event source: one topic, read as a member of a consumer group.

Two defaults of aiokafka would lose data and are changed: a new group starts at the latest record
(`worker.kafka.offset_reset` has the start), and offsets are committed periodically.
"""

import asyncio
from collections.abc import Mapping
from itertools import chain

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, InvalidSessionTimeoutError, KafkaError

from worker.core.errors import DependencyError
from worker.core.model import Record
from worker.kafka.bounded_consumer import ByteBudget, create_consumer, poll_bounded
from worker.kafka.connection import start_clients, stop_client
from worker.kafka.lag import LagTracker
from worker.kafka.membership import GroupPolicy, Membership
from worker.kafka.offset_reset import NO_POSITION, reset_positions, restart_logs
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_monitor import TopicMonitor
from worker.observability.telemetry import Telemetry
from worker.observability.tracing import NO_TRACING, Tracing
from worker.ports import EventSource, EventSourceListener, Partition, Polled

log = structlog.get_logger(__name__)

_COMMIT_SECONDS = 10.0
_SESSION_REFUSED = (
    "KAFKA_SESSION_TIMEOUT_SECONDS={:g} is not between the broker's group.min.session.timeout.ms and "
    "group.max.session.timeout.ms"
)


class KafkaEventSource(EventSource):
    """The `EventSource` of `worker.ports` on one topic.

    Attributes:
        topic: its name.
        lag: of the owned partitions.
    """

    def __init__(
        self, target: KafkaTarget, topic: str, group: GroupPolicy, telemetry: Telemetry, tracing: Tracing = NO_TRACING
    ) -> None:
        self._target = target
        self._group = group
        self.topic = topic
        self._telemetry = telemetry
        self._tracing = tracing
        self._listener: EventSourceListener | None = None
        self._membership: Membership | None = None
        self._consumer = create_consumer(
            target,
            group_id=group.group_id,
            group_instance_id=group.instance_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=int(group.session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(group.heartbeat_seconds * 1000),
            metadata_max_age_ms=int(group.metadata_max_age_seconds * 1000),
            rebalance_timeout_ms=int(group.rebalance_timeout_seconds * 1000),
        )
        self.lag = LagTracker(self._consumer)
        self._topic_monitor = TopicMonitor(self._consumer, target, topic, self.lag)

    async def start(self) -> None:
        """Connect; `subscribe` joins the group."""
        await start_clients(self._target, self._consumer)

    def subscribe(self, listener: EventSourceListener) -> None:
        """Join the group, and notify `listener` of rebalances and of positions that are moved."""
        self._listener = listener
        self._membership = Membership(
            self._consumer, self._target, self._group, listener, self._telemetry, self._reset_positions
        )
        self._consumer.subscribe([self.topic], listener=self._membership)
        self._topic_monitor.start()

    def _reset_positions(self) -> None:
        self.lag.reset()
        self._topic_monitor.reset()

    @property
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

    @property
    def topic_problem(self) -> str | None:
        """Why the topic cannot be read; None while it exists."""
        return self._topic_monitor.problem

    @property
    def retention_seconds(self) -> float | None:
        """The retention time of the topic, see `TopicMonitor`."""
        return self._topic_monitor.retention_seconds

    async def close(self) -> None:
        """Leave the group and disconnect."""
        await self._topic_monitor.close()
        await stop_client(self._consumer.stop())

    async def poll(self, max_records: int, max_bytes: int, timeout_seconds: float) -> Polled:
        """See `worker.ports.EventSource`."""
        budget = ByteBudget(max_bytes)
        with self._tracing.span("poll", topic=self.topic):
            polled = await self._getmany(timeout_seconds, max_records, budget)
        next_offsets = {Partition(*partition): records[-1].offset + 1 for partition, records in polled.items()}
        return Polled([*chain.from_iterable(polled.values())], max_bytes - budget.left, next_offsets)

    async def _getmany(
        self, timeout_seconds: float, max_records: int, budget: ByteBudget
    ) -> Mapping[TopicPartition, list[Record]]:
        self._check_client()
        if self._topic_monitor.replaced:
            restarted = await self._continue_at(await restart_logs(self._consumer, self._telemetry))
            self._topic_monitor.replaced = not restarted
        try:
            polled = await poll_bounded(
                self._consumer, timeout_ms=int(timeout_seconds * 1000), max_records=max_records, budget=budget
            )
        except NO_POSITION as error:
            await self._continue_at(await reset_positions(self._consumer, error, self._telemetry))
            return {}
        except KafkaError as error:
            if isinstance(error, InvalidSessionTimeoutError):
                raise DependencyError(_SESSION_REFUSED.format(self._group.session_timeout_seconds)) from error
            if self._membership and (fencing_error := await self._membership.find_fencing_error()):
                raise fencing_error from error
            raise DependencyError(f"Kafka refuses {self.topic}: {type(error).__name__}: {error}") from error
        for partition, records in polled.items():
            self.lag.record_poll(partition, records[0].offset, records[0].timestamp, records[-1].offset + 1)
        return polled

    def _check_client(self) -> None:
        if self._membership and self._membership.fencing_error:
            raise self._membership.fencing_error
        if self.has_been_group_member:
            self._topic_monitor.check()
        # aiokafka does not check this task: if it ends, every poll is empty for ever, without an error.
        fetch_task = self._consumer._fetcher.error_future  # noqa: SLF001 - there is no public way
        if fetch_task.done():
            raise DependencyError(f"the Kafka client has stopped fetching: {fetch_task}")

    async def _continue_at(self, starts: Mapping[TopicPartition, int]) -> bool:
        """Report positions that were moved to the start of their logs; whether there are any."""
        for partition, start in starts.items():
            self.lag.restart(partition, start)
        if starts and self._listener:
            # To be committed: after a restart the group knows where it was, and finds each loss once.
            await self._listener.on_reset({Partition(*partition): start for partition, start in starts.items()})
        return bool(starts)

    async def pause(self) -> None:
        """See `worker.ports.EventSource`."""
        self._consumer.pause(*self._consumer.assignment())
        polled = await self._getmany(0, 1, ByteBudget(1))
        for partition, records in polled.items():
            # A rebalance in between has assigned a partition that is not paused: read its record again later.
            self._consumer.seek(partition, records[0].offset)

    def resume(self) -> None:
        """See `worker.ports.EventSource`."""
        self._consumer.resume(*self._consumer.paused())

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See `worker.ports.EventSource`.

        If the member does not commit (`GroupPolicy.commits`), only the lag takes account of it.
        """
        assignment = self._consumer.assignment()
        owned = {tp: offset for p, offset in offsets.items() if (tp := TopicPartition(*p)) in assignment}
        if not owned:
            return False
        if self._group.commits and not await self._try_commit(owned):
            return False
        for partition, offset in owned.items():
            self.lag.record_commit(partition, offset)
        return True

    async def _try_commit(self, owned: Mapping[TopicPartition, int]) -> bool:
        try:
            with self._tracing.span("commit", partitions=len(owned)):
                async with asyncio.timeout(_COMMIT_SECONDS):  # without it aiokafka would retry for ever
                    await self._consumer.commit(owned)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            # No record is lost: it is read again, or a later commit covers these offsets as well.
            self._telemetry.kafka.commit_failures.inc()
            log.warning("commit refused", error=f"{type(error).__name__}: {error}", partitions=len(owned))
            return False
        self._telemetry.kafka.commits.inc()
        return True
