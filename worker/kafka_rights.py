"""What Kafka lets this user do with a topic or a group: it is asked, and nothing is tried out.

Two requests, because aiokafka has neither: its Metadata ends below the version that tells of rights, and its
DescribeGroups asks for them but does not read the answer. A broker that does not know them leaves the rights unknown,
and so does one without an authorizer or that answers less than it was asked.
"""

from enum import IntEnum
from typing import NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

_NOT_TOLD = -(2**31)


class Right(IntEnum):
    """Kafka's AclOperation, by its number in the protocol."""

    READ = 3
    WRITE = 4


class Need(NamedTuple):
    """A right that the worker cannot do without, and the variable that names what it is a right to."""

    right: Right
    name: str
    setting: str


class _TopicsDescribed(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _DescribeTopics(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsDescribed
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicsWithRights(Request[_DescribeTopics]):  # type: ignore[misc,type-arg,unused-ignore]
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_DescribeTopics]) -> _DescribeTopics:
        return request_struct_class(self._topics, False, False, True)


class _DescribeGroups(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class _GroupWithRights(Request[_DescribeGroups]):  # type: ignore[misc,type-arg,unused-ignore]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_DescribeGroups]) -> _DescribeGroups:
        return request_struct_class([self._group], True)


async def may_use_topic(client: AIOKafkaClient, need: Need) -> bool | None:
    """Whether the user has this right to the topic; None where the broker does not tell.

    Raises:
        KafkaError: the broker did not answer, or not in order.
    """
    try:
        answer = await client.send(client.get_random_node(), _TopicsWithRights([need.name]))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    (topic,) = answer.to_object()["topics"]
    if topic["error_code"] == TopicAuthorizationFailedError.errno:
        return False  # any right to a topic brings the one to see it
    return None if topic["error_code"] else _allows(topic["authorized_operations"], need.right)


async def may_use_group(client: AIOKafkaClient, need: Need) -> bool | None:
    """Whether the user has this right to the group; None where the broker does not tell.

    Raises:
        KafkaError: the broker did not answer, or not in order; retriable while it has no coordinator yet.
    """
    try:
        found = await client.send(client.get_random_node(), FindCoordinatorRequest(need.name, 0))
        _raise_for(found.error_code)
        answer = await client.send(found.coordinator_id, _GroupWithRights(need.name))
        (group,) = answer.to_object()["groups"]
        _raise_for(group["error_code"])
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    except GroupAuthorizationFailedError:
        return False
    return _allows(group["authorized_operations"], need.right)


def _raise_for(code: int) -> None:
    if code:
        error: type[KafkaError] = for_code(code)
        raise error


def _allows(operations: int, right: Right) -> bool | None:
    return None if operations == _NOT_TOLD else bool(operations >> right & 1)
