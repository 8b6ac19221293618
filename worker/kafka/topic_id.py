"""The id of a topic, which differs from that of a deleted topic with the same name.

It needs Metadata 10 (Apache Kafka 2.8), which aiokafka lacks.
"""

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from worker.kafka.admin_requests import UNSUPPORTED_BY_BROKER

TopicId = tuple[int, int]
"""The two halves of its UUID."""

_TEXT = CompactString("utf-8")
_UUID = (("id_high", Int64), ("id_low", Int64))
_NO_ID = (0, 0)


class _MetadataResponse(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _TEXT),
                *_UUID,
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(*_UUID, ("topic", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataWithId(Request[_MetadataRequest]):  # type: ignore[misc,type-arg,unused-ignore]
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        return request_struct_class([(*_NO_ID, self._topic, {})], False, False, False, {})


async def fetch_topic_id(client: AIOKafkaClient, topic: str) -> TopicId | None:
    """The id of the topic; None if there is no such topic, or the broker gives no answer or has no ids."""
    try:
        answer = await client.send(client.get_random_node(), _MetadataWithId(topic))
    except (KafkaError, *UNSUPPORTED_BY_BROKER):
        return None
    (found,) = answer.to_object()["topics"]
    topic_id = (found["id_high"], found["id_low"])
    return None if found["error_code"] or topic_id == _NO_ID else topic_id
