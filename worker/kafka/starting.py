"""Starting consumers, none of which is left open when that does not come to its end."""

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from worker.kafka.connection import CONNECT_SECONDS, stop_client, unreachable
from worker.kafka.target import KafkaTarget


async def start_consumers(target: KafkaTarget, *consumers: AIOKafkaConsumer) -> None:
    """Start each of them, or stop them all: where Kafka is away, and where this is cancelled.

    Each later connection is made with the secrets of `target` as they stand then.

    Raises:
        DependencyError: no broker answers.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            for consumer in consumers:
                target.renew_credentials(consumer._client)  # noqa: SLF001 - there is no public way
                await consumer.start()
    except BaseException as error:
        for consumer in consumers:
            await stop_client(consumer.stop())
        if isinstance(error, KafkaError | OSError | TimeoutError):
            raise unreachable(error) from error
        raise
