"""Whether the topic still exists. Without it aiokafka reports nothing: no partitions are assigned, polls are empty."""

from collections.abc import Callable
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer

log = structlog.get_logger(__name__)

_REFRESH_SECONDS = 5.0
"""How often the metadata of a missing topic is requested; aiokafka would wait KAFKA_METADATA_MAX_AGE_SECONDS."""


class TopicPresence:
    """Reports when a topic is deleted while it is read, and when it is back.

    `clock` returns seconds.

    Attributes:
        problem: why nothing can be read; None while the topic exists.
    """

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, clock: Callable[[], float] = monotonic) -> None:
        self._consumer = consumer
        self._topic = topic
        self._clock = clock
        self._next_refresh = 0.0
        self.problem: str | None = None

    def check(self) -> None:
        """Look at the metadata that aiokafka has; to be called once the consumer has joined its group."""
        if self._consumer.partitions_for_topic(self._topic):
            if self.problem:
                self.problem = None
                log.info("the topic is back", topic=self._topic)
            return
        if self.problem is None:
            self.problem = (
                f"topic {self._topic} was deleted, or this user may not see it any more; create it (the worker never "
                "does) or grant READ, and the worker continues"
            )
            log.error("the topic is missing", topic=self._topic, problem=self.problem)
        if self._clock() >= self._next_refresh:
            self._next_refresh = self._clock() + _REFRESH_SECONDS
            self._consumer._client.force_metadata_update()  # noqa: SLF001 - there is no public way
