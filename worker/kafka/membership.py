"""Being one member of a consumer group: what a rebalance asks of us, and what to do when our name has been taken."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from worker.core.errors import DependencyError
from worker.kafka.connection import KafkaTarget, find_static_member_id
from worker.observability.telemetry import Telemetry
from worker.ports import RevokeListener

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class GroupPolicy:
    """How a member of the consumer group behaves. Times in seconds."""

    group_id: str
    instance_id: str | None = None
    session_timeout_seconds: float = 45.0
    rebalance_timeout_seconds: float = 60.0
    metadata_max_age_seconds: float = 60.0


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Hears of rebalances.

    Two static members of one name (`KAFKA_GROUP_INSTANCE_ID`) are a mistake that nobody would see: Kafka gives the name
    to the younger, aiokafka does not tell the older that it is fenced, the older joins again and takes the name back,
    and so on for ever. Here the older ends.

    Args:
        consumer: the member.
        target: where to ask who else is one.
        group: what it is a member of.
        listener: is told of a revoke while the partitions are still owned.
        telemetry: counts them.
        forget: called when what is known of partitions and positions does not hold any more.

    Attributes:
        joined: the partitions, if any, are settled; true for a member without partitions too.
        has_been_group_member: whether that was so at any time.
        lost: why this member must end, once it must.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        target: KafkaTarget,
        group: GroupPolicy,
        listener: RevokeListener,
        telemetry: Telemetry,
        forget: Callable[[], object],
    ) -> None:
        self._consumer = consumer
        self._target = target
        self._group = group
        self._listener = listener
        self._telemetry = telemetry
        self._forget = forget
        self._known_as: str | None = None
        self.joined = self.has_been_group_member = False
        self.lost: DependencyError | None = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish what is under way; for a member whose name has been taken, the last that it does."""
        self.joined = False
        if not self._member_id():  # the coordinator does not know us any more
            self.lost = await self.find_fencing_error()
        if revoked:
            self._telemetry.rebalances.inc()
            log.info("partitions revoked", partitions=sorted(tp.partition for tp in revoked))
            await self._listener.on_revoke()
        self._forget()
        self._telemetry.assigned.set(0)
        if self.lost:
            # This ends aiokafka's task that would join again now. An error would be logged, and it would join.
            raise asyncio.CancelledError

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Take note of them."""
        self.joined = self.has_been_group_member = True
        self._known_as = self._member_id()
        self._telemetry.assigned.set(len(assigned))
        log.info("partitions assigned", partitions=sorted(tp.partition for tp in assigned))

    async def find_fencing_error(self) -> DependencyError | None:
        """The error to end with if another member has our name now; None also where that cannot be told."""
        name = self._group.instance_id
        if name is None or self._known_as is None:
            return None
        try:
            holder = await find_static_member_id(self._target, self._group.group_id, name)
        except DependencyError as error:
            log.warning("whether our name in the group was taken cannot be told", error=str(error))
            return None
        if holder in (None, self._known_as):
            return None
        return DependencyError(
            f"another member of group {self._group.group_id} has joined as {name}, and this one must end: "
            "KAFKA_GROUP_INSTANCE_ID must be different for each worker"
        )

    def _member_id(self) -> str:
        return str(self._consumer._coordinator.member_id)  # noqa: SLF001 - there is no public way
