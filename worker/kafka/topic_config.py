"""The configuration of a topic, as far as the user may read it."""

from collections.abc import Mapping

import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.admin import DescribeConfigsRequest

from worker.core.errors import DependencyError
from worker.kafka.admin_requests import UNSUPPORTED_BY_BROKER
from worker.kafka.connection import open_client
from worker.kafka.target import KafkaTarget

log = structlog.get_logger(__name__)

_TOPIC_RESOURCE = 2


async def fetch_topic_config(target: KafkaTarget, topic: str, *names: str) -> Mapping[str, str | None] | None:
    """These values of the configuration of the topic, by name; None if Kafka does not tell them.

    It connects anew, because a broker that does not know the request may close the connection.
    """
    request = DescribeConfigsRequest([(_TOPIC_RESOURCE, topic, list(names))])
    try:
        async with open_client(target) as client:
            answer = await client.send(client.get_random_node(), request)
    except (DependencyError, KafkaError, *UNSUPPORTED_BY_BROKER) as error:
        log.debug("the configuration of the topic is not known", error=f"{type(error).__name__}: {error}")
        return None
    (described,) = answer.to_object()["resources"]
    if code := described["error_code"]:
        if code == TopicAuthorizationFailedError.errno:
            log.warning(
                "a configuration of the topic is not known: grant DESCRIBE_CONFIGS on it", topic=topic, names=names
            )
        else:
            log.debug("the configuration of the topic is not known", error=for_code(code).__name__)
        return None
    return {entry["config_names"]: entry["config_value"] for entry in described["config_entries"]}
