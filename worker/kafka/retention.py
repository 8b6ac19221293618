"""How long a topic keeps its records."""

import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.admin import DescribeConfigsRequest

from worker.core.errors import DependencyError
from worker.kafka.admin_requests import UNSUPPORTED_BY_BROKER
from worker.kafka.connection import open_client
from worker.kafka.target import KafkaTarget

log = structlog.get_logger(__name__)

_TOPIC_RESOURCE = 2
_POLICY, _TIME = "cleanup.policy", "retention.ms"
FOREVER = float("inf")


async def fetch_retention_seconds(target: KafkaTarget, topic: str) -> float | None:
    """The retention time of the topic in seconds, `FOREVER` if time deletes nothing; None if Kafka does not tell it.

    It connects anew, because a broker that does not know the request may close the connection.
    """
    request = DescribeConfigsRequest([(_TOPIC_RESOURCE, topic, [_POLICY, _TIME])])
    try:
        async with open_client(target) as client:
            answer = await client.send(client.get_random_node(), request)
    except (DependencyError, KafkaError, *UNSUPPORTED_BY_BROKER) as error:
        log.debug("the retention of the topic is not known", error=f"{type(error).__name__}: {error}")
        return None
    (described,) = answer.to_object()["resources"]
    if code := described["error_code"]:
        if code == TopicAuthorizationFailedError.errno:
            log.warning("the retention of the topic is not known: grant DESCRIBE_CONFIGS on it", topic=topic)
        else:
            log.debug("the retention of the topic is not known", error=for_code(code).__name__)
        return None
    values = {entry["config_names"]: entry["config_value"] for entry in described["config_entries"]}
    if "delete" not in (values.get(_POLICY) or "delete") or (milliseconds := int(values.get(_TIME) or -1)) < 0:
        return FOREVER
    return milliseconds / 1000
