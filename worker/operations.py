"""The composition root of the commands that look after dead letters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.app import kafka_target
from worker.dead_letter_backlog import KafkaBacklog
from worker.kafka import require_topics
from worker.settings import Settings
from worker.standing import Standing


@asynccontextmanager
async def backlog(settings: Settings) -> AsyncIterator[KafkaBacklog]:
    """The dead-letter topic, to be read; the progress of replays is kept beside the group of the workers.

    Raises:
        DependencyError: Kafka cannot be reached, or the topic is missing.
    """
    target = kafka_target(settings)
    await require_topics(target, [settings.kafka_dlq_topic])
    opened = KafkaBacklog(target, settings.kafka_dlq_topic, f"{settings.kafka_group_id}.replay")
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()


@asynccontextmanager
async def standing(settings: Settings) -> AsyncIterator[Standing]:
    """What stands in the dead-letter topic now.

    Raises:
        DependencyError: Kafka cannot be reached, or the topic is missing.
    """
    async with backlog(settings) as opened:
        yield await Standing.now(opened)
