"""Appends settlements to the dead-letter topic."""

import asyncio

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from worker.core.errors import DependencyError
from worker.dead_letters.settlement import Settlement, encode_settlement
from worker.kafka.topic_producer import TopicProducer
from worker.ports import SettlementSink

_ATTEMPTS = 2
"""A failed one may be due to a batch before it, which failed too: the next one goes through another producer."""


class KafkaSettlementSink(SettlementSink):
    """The `SettlementSink` of `worker.ports` on the topic of a producer; `version` is that of the worker."""

    def __init__(self, producer: TopicProducer, version: str, timeout_seconds: float) -> None:
        self._producer = producer
        self._version = version
        self._timeout_seconds = timeout_seconds

    async def append(self, partition: int, settlement: Settlement) -> None:
        """See `worker.ports.SettlementSink`. One that is too large for the topic is halved until it fits."""
        parts = [settlement]
        while parts:
            part = parts.pop()
            try:
                await self._append_part(partition, part)
            except MessageSizeTooLargeError as error:
                if len(part.runs) < 2:
                    raise self._refused_error(error) from error
                middle = len(part.runs) // 2
                parts += [part._replace(runs=part.runs[middle:]), part._replace(runs=part.runs[:middle])]

    async def _append_part(self, partition: int, settlement: Settlement) -> None:
        encoded = encode_settlement(settlement, self._version)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    acknowledgement = await self._producer.send_alone(
                        encoded.value, None, timestamp=encoded.timestamp, headers=encoded.headers, partition=partition
                    )
                    await acknowledgement
            except MessageSizeTooLargeError:
                raise
            except (KafkaError, TimeoutError) as error:
                if attempt == _ATTEMPTS:
                    raise self._refused_error(error) from error
            else:
                return

    def _refused_error(self, error: Exception) -> DependencyError:
        return DependencyError(f"{self._producer.topic} acknowledges no settlement: {type(error).__name__}: {error}")
