"""A consumer group belongs to one instance of the worker.

A second instance with its `KAFKA_GROUP_ID`, such as staging beside production, would get a share of the partitions, and
write those events to a ClickHouse of its own: no event is lost, and the first instance lacks some without an error.
Kafka does not know instances, so the names of static members carry them: the manifests call a member
`NAMESPACE_POD`, and all of it but the number of the pod is its instance. Names of hosts contain no `_`.
"""

import re

from worker.core.errors import DependencyError
from worker.kafka.connection import find_static_members
from worker.kafka.target import KafkaTarget

_MEMBER = re.compile(r"(?P<instance>.+_.+)-\d+")


def instance_of(member_name: str) -> str | None:
    """`production_metrics-worker` of `production_metrics-worker-0`; None if the name does not have that form."""
    match = _MEMBER.fullmatch(member_name)
    return match["instance"] if match else None


async def require_own_group(target: KafkaTarget, group: str, member_name: str | None) -> None:
    """Raise a DependencyError if the group has a member of another instance, or if no broker answers."""
    if error := await find_other_instance(target, group, member_name):
        raise error


async def find_other_instance(target: KafkaTarget, group: str, member_name: str | None) -> DependencyError | None:
    """The error that the group has a member of another instance. Raises DependencyError if no broker answers."""
    instance = instance_of(member_name or "")
    if instance is None:
        return None
    others = {instance_of(name) for name in await find_static_members(target, group)} - {instance, None}
    if not others:
        return None
    return DependencyError(
        f"consumer group {group} has members of {', '.join(sorted(map(str, others)))}, and this is {instance}: "
        "they would share the events; KAFKA_GROUP_ID must be different for each instance (or wait for "
        "KAFKA_SESSION_TIMEOUT_SECONDS, if that instance has ended)"
    )
