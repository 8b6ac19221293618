"""Membership in a consumer group: rebalances, and two static members with the same name."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from worker.core.errors import DependencyError
from worker.kafka.connection import find_static_members
from worker.kafka.group_instances import find_other_instance
from worker.kafka.target import KafkaTarget
from worker.observability.telemetry import Telemetry
from worker.ports import EventSourceListener

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class GroupPolicy:
    """How a member of the consumer group behaves. Times in seconds.

    Attributes:
        commits: whether it commits offsets; otherwise the group does not move, and its next member reads all again.
    """

    group_id: str
    instance_id: str | None = None
    session_timeout_seconds: float = 45.0
    rebalance_timeout_seconds: float = 60.0
    metadata_max_age_seconds: float = 60.0
    commits: bool = True

    @property
    def heartbeat_seconds(self) -> float:
        """How often the member sends a heartbeat.

        Its answer is how a member learns of a rebalance. If that comes later than the rebalance time-out, the group has
        gone on without the member, whose joining begins the next rebalance, and so on.
        """
        return min(self.session_timeout_seconds / 15, self.rebalance_timeout_seconds / 5)


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Handles rebalances.

    Two static members with one name (`KAFKA_GROUP_INSTANCE_ID`) would fence each other for ever: Kafka gives the name
    to the newer member, aiokafka does not report to the older one that it is fenced, the older one joins again and
    takes the name back. Here the older one stops with an error.

    On a revoke `listener` is called while the partitions are still owned; then `reset_positions`, because what is known
    about positions is no longer valid.

    Attributes:
        is_member: the last rebalance has finished; also true for a member without partitions.
        fencing_error: the error to stop with, if another member has this member's name, or is of another instance.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        target: KafkaTarget,
        group: GroupPolicy,
        listener: EventSourceListener,
        telemetry: Telemetry,
        reset_positions: Callable[[], object],
    ) -> None:
        self._consumer = consumer
        self._target = target
        self._group = group
        self._listener = listener
        self._telemetry = telemetry
        self._reset_positions = reset_positions
        self._last_member_id: str | None = None
        self.is_member = self.has_been_group_member = False
        self.fencing_error: DependencyError | None = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish what is in flight; a fenced member does not join again."""
        self.is_member = False
        if not self._member_id():  # the coordinator no longer knows this member
            self.fencing_error = await self.find_fencing_error()
        if revoked:
            self._telemetry.kafka.rebalances.inc()
            log.info("partitions revoked", partitions=sorted(tp.partition for tp in revoked))
            await self._listener.on_revoke()
        self._reset_positions()
        self._telemetry.kafka.assigned.set(0)
        if self.fencing_error:
            # This ends aiokafka's task, which would join again. aiokafka would log any other error, and join.
            raise asyncio.CancelledError

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Keep the member id, and report the partitions. In a group of another instance nothing is read."""
        if not self.has_been_group_member:
            self._consumer.pause(*assigned)  # else a poll returns records while this waits
            self.fencing_error = await self._find_other_instance()
            if self.fencing_error is None:
                self._consumer.resume(*assigned)
        self.is_member = self.has_been_group_member = True
        self._last_member_id = self._member_id()
        self._telemetry.kafka.assigned.set(len(assigned))
        for partition in assigned:
            self._telemetry.start_counters_of(*partition)
        log.info("partitions assigned", partitions=sorted(tp.partition for tp in assigned))

    async def find_fencing_error(self) -> DependencyError | None:
        """The error to stop with if another member has this member's name; None also if Kafka gives no answer."""
        name = self._group.instance_id
        if name is None or self._last_member_id is None:
            return None
        try:
            member_id = (await find_static_members(self._target, self._group.group_id)).get(name)
        except DependencyError as error:
            log.warning("cannot check whether another member has our name in the group", error=str(error))
            return None
        if member_id in (None, self._last_member_id):
            return None
        return DependencyError(
            f"another member of group {self._group.group_id} has joined as {name}, and this one must end: "
            "KAFKA_GROUP_INSTANCE_ID must be different for each worker"
        )

    async def _find_other_instance(self) -> DependencyError | None:
        """Looked for before the start too; but two instances that start at once both find the group empty then."""
        try:
            return await find_other_instance(self._target, self._group.group_id, self._group.instance_id)
        except DependencyError as error:
            log.warning("cannot check whether another instance is in the group", error=str(error))
            return None

    def _member_id(self) -> str:
        return str(self._consumer._coordinator.member_id)  # noqa: SLF001 - there is no public way
