"""The progress of a consumer group, without becoming a member of it."""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from worker.core.errors import DependencyError
from worker.core.model import PartitionProgress
from worker.kafka.connection import CONNECT_SECONDS, require_topics, start_clients, stop_client
from worker.kafka.target import KafkaTarget


async def fetch_group_progress(target: KafkaTarget, topic: str, group: str) -> Mapping[int, PartitionProgress]:
    """The end and the committed offset of `group` by partition.

    It reads no records, so that it can be asked often. Raises DependencyError when Kafka cannot be reached, or refuses.
    """
    count = (await require_topics(target, [topic]))[topic]
    consumer = AIOKafkaConsumer(**target.options(), group_id=group, enable_auto_commit=False)
    await start_clients(target, consumer)
    partitions = [TopicPartition(topic, number) for number in range(count)]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            ends = await consumer.end_offsets(partitions)
            committed = {partition: await consumer.committed(partition) for partition in partitions}
    except TimeoutError as error:
        raise DependencyError(f"Kafka gave no offsets of {topic} within {CONNECT_SECONDS:g} s") from error
    except KafkaError as error:
        raise DependencyError(f"Kafka refuses {topic} or the group {group}: {type(error).__name__}: {error}") from error
    finally:
        await stop_client(consumer.stop())
    return {each.partition: PartitionProgress(ends[each], offset) for each, offset in committed.items()}
