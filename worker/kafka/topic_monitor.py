"""Asks Kafka every few seconds what fetches do not tell: the bounds of the logs, the id and the retention of the topic.

Paused partitions are not fetched at all, and aiokafka discards the start of the log that a fetch returns.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from worker.core.process import cancel_tasks
from worker.kafka.lag import LagTracker
from worker.kafka.retention import fetch_retention_seconds
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_id import TopicId, fetch_topic_id
from worker.kafka.topic_presence import TopicPresence

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 5.0
"""Pause between two rounds, and the time-out of each."""
_RETENTION_SECONDS = 600.0
"""How often the retention is requested."""


class TopicMonitor:
    """Keeps the bounds of the logs in `lag` current, and notices that a topic is a new one of the same name.

    Attributes:
        replaced: the topic was deleted and created again, and no rebalance has followed; to be set to False when the
            positions are those of the new topic.
        retention_seconds: of the topic; None if not known.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        target: KafkaTarget,
        topic: str,
        lag: LagTracker,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._consumer = consumer
        self._target = target
        self._topic = topic
        self._lag = lag
        self._clock = clock
        self._presence = TopicPresence(consumer, topic)
        self._task: asyncio.Task[None] | None = None
        self._next_retention = 0.0
        self._topic_ids: set[TopicId] = set()
        self._last_failure = ""
        self.replaced = False
        self.retention_seconds: float | None = None

    def start(self) -> None:
        """Begin to ask, until `close`."""
        self._task = asyncio.create_task(self._run(), name="topic monitor")

    async def close(self) -> None:
        """Ask no more; harmless before `start`."""
        if self._task is not None:
            await cancel_tasks(self._task)

    def check(self) -> None:
        """Look for the topic; to be called at each poll of a member of the group."""
        self._presence.check()

    @property
    def problem(self) -> str | None:
        """Why the topic cannot be read; None while it exists."""
        return self._presence.problem

    def reset(self) -> None:
        """Forget the id: after a rebalance the positions are those that Kafka has for the topic as it is then."""
        self._topic_ids.clear()
        self.replaced = False

    async def _run(self) -> None:
        while True:
            try:
                await self._ask()
            except Exception as error:  # noqa: BLE001 - an odd answer to what only watches must not end the worker
                self._log_failure(error)
            else:
                self._last_failure = ""
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def _ask(self) -> None:
        if self._clock() >= self._next_retention:
            self._next_retention = self._clock() + _RETENTION_SECONDS
            self.retention_seconds = await fetch_retention_seconds(self._target, self._topic)
        if self._consumer.assignment():
            async with asyncio.timeout(_INTERVAL_SECONDS):
                await self._check_topic_id()
                await self._lag.refresh_bounds()

    def _log_failure(self, error: Exception) -> None:
        """Warn of an error once; while brokers are away, the consumer reports more."""
        failure = f"{type(error).__name__}: {error}"
        is_new = failure != self._last_failure and not isinstance(error, KafkaError | TimeoutError)
        (log.warning if is_new else log.debug)("Kafka does not describe the topic", error=failure)
        self._last_failure = failure

    async def _check_topic_id(self) -> None:
        topic_id = await fetch_topic_id(self._consumer._client, self._topic)  # noqa: SLF001 - there is no public way
        if topic_id and topic_id not in self._topic_ids:
            self.replaced = bool(self._topic_ids)
            # The old ones too: a broker that is behind may return them for a while.
            self._topic_ids.add(topic_id)
