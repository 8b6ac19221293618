"""How long a topic keeps its records."""

from worker.kafka.target import KafkaTarget
from worker.kafka.topic_config import fetch_topic_config

_POLICY, _TIME = "cleanup.policy", "retention.ms"
FOREVER = float("inf")


async def fetch_retention_seconds(target: KafkaTarget, topic: str) -> float | None:
    """The retention time of the topic in seconds, `FOREVER` if time deletes nothing; None if Kafka does not tell it."""
    values = await fetch_topic_config(target, topic, _POLICY, _TIME)
    if values is None:
        return None
    if "delete" not in (values.get(_POLICY) or "delete") or (milliseconds := int(values.get(_TIME) or -1)) < 0:
        return FOREVER
    return milliseconds / 1000
