"""What Kafka lets this user do with a topic or a group, and who is in a group: it is asked, and nothing is tried out.

A broker that does not know the questions leaves the answer open, and so does one without an authorizer.
"""

from enum import IntEnum
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.coordination import FindCoordinatorRequest

from worker.kafka.requests import OPERATIONS_UNKNOWN, UNSUPPORTED_BY_BROKER, DescribeGroupWithAcls, MetadataWithAcls


class AclOperation(IntEnum):
    """Kafka's AclOperation, by its number in the protocol."""

    READ = 3
    WRITE = 4


class RequiredAcl(NamedTuple):
    """A right that the worker cannot do without, and the variable that names what it is a right to."""

    right: AclOperation
    name: str
    setting: str


async def has_topic_acl(client: AIOKafkaClient, need: RequiredAcl) -> bool | None:
    """Whether the user has this right to the topic; None where the broker does not tell.

    Raises:
        KafkaError: the broker did not answer, or not in order.
    """
    try:
        answer = await client.send(client.get_random_node(), MetadataWithAcls([need.name]))
    except UNSUPPORTED_BY_BROKER:
        return None
    (topic,) = answer.to_object()["topics"]
    if topic["error_code"] == TopicAuthorizationFailedError.errno:
        return False  # any right to a topic brings the one to see it
    return None if topic["error_code"] else _allows(topic["authorized_operations"], need.right)


async def has_group_acl(client: AIOKafkaClient, need: RequiredAcl) -> bool | None:
    """Whether the user has this right to the group; None where the broker does not tell.

    Raises:
        KafkaError: the broker did not answer, or not in order; retriable while it has no coordinator yet.
    """
    try:
        group = await _group(client, need.name)
    except GroupAuthorizationFailedError:
        return False
    return None if group is None else _allows(group["authorized_operations"], need.right)


async def find_static_member(client: AIOKafkaClient, group: str, instance_id: str) -> str | None:
    """The member id of the static member of this name; None where there is none, or the broker does not tell.

    Raises:
        KafkaError: the broker did not answer, or not in order; retriable while it has no coordinator.
    """
    described = await _group(client, group)
    members = described["members"] if described else []
    return next((member["member_id"] for member in members if member["group_instance_id"] == instance_id), None)


async def _group(client: AIOKafkaClient, name: str) -> dict[str, Any] | None:
    try:
        found = await client.send(client.get_random_node(), FindCoordinatorRequest(name, 0))
        _raise_for(found.error_code)
        answer = await client.send(found.coordinator_id, DescribeGroupWithAcls(name))
    except UNSUPPORTED_BY_BROKER:
        return None
    group: dict[str, Any] = answer.to_object()["groups"][0]
    _raise_for(group["error_code"])
    return group


def _raise_for(code: int) -> None:
    if code:
        error: type[KafkaError] = for_code(code)
        raise error


def _allows(operations: int, right: AclOperation) -> bool | None:
    return None if operations == OPERATIONS_UNKNOWN else bool(operations >> right & 1)
