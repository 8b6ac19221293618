"""Whether a topic can be written to: it exists, this user may see it, and its partitions have leaders."""

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

_NO_LEADER = (None, -1)


async def find_leaderless_partitions(client: AIOKafkaClient, topic: str) -> list[int]:
    """The partitions of `topic` that have no leader now; those last known while no broker answers.

    Raises:
        UnknownTopicOrPartitionError: there is no such topic.
        TopicAuthorizationFailedError: this user may not see it.
    """
    client.add_topic(topic)
    await client.force_metadata_update()
    cluster = client.cluster
    if partitions := cluster.partitions_for_topic(topic):
        return [
            number
            for number in sorted(partitions)
            if cluster.leader_for_partition(TopicPartition(topic, number)) in _NO_LEADER
        ]
    if topic in cluster.unauthorized_topics:
        raise TopicAuthorizationFailedError(topic)
    raise UnknownTopicOrPartitionError(topic)
