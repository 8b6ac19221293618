"""How long a topic keeps its records, and which."""

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


async def find_compaction_problem(target: KafkaTarget, topic: str) -> str | None:
    """Why the topic deletes records before their time, and what to change; None if it does not, or is not described.

    Compaction keeps one record of each key, and all dead letters of a source record have its key. A compacted topic
    refuses settlements, which have none.
    """
    policy = (await fetch_topic_config(target, topic, _POLICY) or {}).get(_POLICY) or ""
    if "compact" not in policy:
        return None
    return (
        f"{topic} has {_POLICY}={policy}, so Kafka would delete all dead letters of a key but the last; change it: "
        f"kafka-configs.sh --bootstrap-server {target.bootstrap_servers} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {_POLICY}=delete"
    )
