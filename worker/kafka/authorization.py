"""Queries about ACLs and group members. They let the start and `check` name each missing ACL, without side effects.

A broker without an authorizer, or one that does not know these requests, gives no answer. A failed request raises
KafkaError, which is retriable while the group has no coordinator.
"""

from enum import IntEnum
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.coordination import FindCoordinatorRequest

from worker.kafka.admin_requests import (
    OPERATIONS_UNKNOWN,
    UNSUPPORTED_BY_BROKER,
    DescribeGroupWithAcls,
    MetadataWithAcls,
)


class AclOperation(IntEnum):
    """Kafka's AclOperation, with its number in the protocol."""

    READ = 3
    WRITE = 4


class RequiredAcl(NamedTuple):
    """An ACL that the worker needs on a topic or group; `setting` is the variable that names the topic or group."""

    operation: AclOperation
    name: str
    setting: str


async def has_topic_acl(client: AIOKafkaClient, acl: RequiredAcl) -> bool | None:
    """Whether the user has this ACL on the topic; None if the broker gives no answer."""
    try:
        answer = await client.send(client.get_random_node(), MetadataWithAcls([acl.name]))
    except UNSUPPORTED_BY_BROKER:
        return None
    (topic,) = answer.to_object()["topics"]
    if topic["error_code"] == TopicAuthorizationFailedError.errno:
        return False  # any ACL on a topic includes DESCRIBE
    return None if topic["error_code"] else _is_allowed(topic["authorized_operations"], acl.operation)


async def has_group_acl(client: AIOKafkaClient, acl: RequiredAcl) -> bool | None:
    """Whether the user has this ACL on the group; None if the broker gives no answer."""
    try:
        group = await _describe_group(client, acl.name)
    except GroupAuthorizationFailedError:
        return False
    return None if group is None else _is_allowed(group["authorized_operations"], acl.operation)


async def describe_static_members(client: AIOKafkaClient, group: str) -> dict[str, str]:
    """The member ids of the static members by name; empty also if the broker gives no answer."""
    described = await _describe_group(client, group)
    members = described["members"] if described else []
    return {name: member["member_id"] for member in members if (name := member["group_instance_id"])}


async def _describe_group(client: AIOKafkaClient, name: str) -> dict[str, Any] | None:
    try:
        coordinator = await client.send(client.get_random_node(), FindCoordinatorRequest(name, 0))
        _raise_for(coordinator.error_code)
        answer = await client.send(coordinator.coordinator_id, DescribeGroupWithAcls(name))
    except UNSUPPORTED_BY_BROKER:
        return None
    groups: list[dict[str, Any]] = answer.to_object()["groups"]
    if not groups:  # a broker may leave out a group
        return None
    _raise_for(groups[0]["error_code"])
    return groups[0]


def _raise_for(code: int) -> None:
    if code:
        error: type[KafkaError] = for_code(code)
        raise error


def _is_allowed(operations: int, operation: AclOperation) -> bool | None:
    return None if operations == OPERATIONS_UNKNOWN else bool(operations >> operation & 1)
