"""How large a record may be that is sent to a topic: by the topic's configuration, or by what the broker has refused.

The broker compares `max.message.bytes` with a batch of records as it arrives, and once more after it has compressed the
batch itself (`compression.type`). The configuration is known only with the ACL DESCRIBE_CONFIGS.
"""

from time import monotonic

from worker.kafka.target import KafkaTarget
from worker.kafka.topic_config import fetch_topic_config

MAX_RECORD_BYTES = 1_048_576
"""No larger record is sent, whatever the topic allows, so that records in flight need little memory."""
_MAX_BATCH_BYTES = 65_536
_MAX_MESSAGE_BYTES = "max.message.bytes"
_VALID_SECONDS = 300.0
"""How long a limit counts before it is read again: it can be raised."""


class SizeLimit:
    """The limits of one topic as far as they are known.

    Attributes:
        record_bytes: the size of the largest record that may be sent, as a batch of its own.
    """

    def __init__(self, target: KafkaTarget, topic: str) -> None:
        self._target = target
        self._topic = topic
        self._since = monotonic()
        self._batch_bytes = _MAX_BATCH_BYTES
        self.record_bytes = MAX_RECORD_BYTES

    @property
    def batch_bytes(self) -> int:
        """The size of the largest batch of several records."""
        return min(self._batch_bytes, self.record_bytes)

    async def apply_topic_limit(self) -> None:
        """Lower the limits to those of the topic as it is configured now; what refusals have shown still counts."""
        self.record_bytes = min(self.record_bytes, await self._read())

    async def allows(self, size: int) -> bool:
        """Whether a record of this size may be sent. It reads the configuration again if that was long ago."""
        if size > self.record_bytes and monotonic() - self._since > _VALID_SECONDS:
            self._since = monotonic()
            self.record_bytes = await self._read()
            self._batch_bytes = _MAX_BATCH_BYTES
        return size <= self.record_bytes

    def record_refused(self, size: int) -> None:
        """The broker has refused a record of this size, alone."""
        self.record_bytes = min(self.record_bytes, size - 1)

    def batch_refused(self) -> None:
        """The broker has refused a batch, which may have had several records."""
        self._batch_bytes //= 2

    async def _read(self) -> int:
        values = await fetch_topic_config(self._target, self._topic, _MAX_MESSAGE_BYTES) or {}
        return min(int(values.get(_MAX_MESSAGE_BYTES) or MAX_RECORD_BYTES), MAX_RECORD_BYTES)
