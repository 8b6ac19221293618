"""The other client that sends records: librdkafka, with one producer for each codec."""

from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.fuzz.fuzz_record import FuzzRecord

_MOST_IN_FLIGHT = 1_000
_FLUSH_SECONDS = 60
_MAX_TIMESTAMP = 2**61

Acknowledge = Callable[[int, int], None]
"""Is called with partition and offset of an acknowledged record."""


def can_send(record: FuzzRecord) -> bool:
    """Whether librdkafka sends the record as it is: a timestamp of 0 means now, and a header's name ends at a NUL."""
    named = all("\0" not in name for name, _ in record.headers)
    return record.batch is None and named and 0 < record.timestamp <= _MAX_TIMESTAMP


class LibrdkafkaSender:
    """Sends records to one topic. A large record has a record batch of its own."""

    def __init__(
        self, servers: str, topic: str, codecs: Sequence[str | None], batch_bytes: int, record_bytes: int
    ) -> None:
        self._topic = topic
        self._producers = {
            codec: Producer(
                {
                    "bootstrap.servers": servers,
                    "acks": "all",
                    "log_level": 0,
                    "linger.ms": 5,
                    "batch.size": batch_bytes,
                    "message.max.bytes": record_bytes,
                    "compression.codec": codec or "none",
                }
            )
            for codec in codecs
        }

    def send(self, record: FuzzRecord, partition: int, acknowledge: Acknowledge) -> None:
        """Queue a record. `acknowledge` is called in a later `send` or `flush`, which raise KafkaException."""

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            at, offset = message.partition(), message.offset()
            if error is not None or at is None or offset is None:
                raise KafkaException(error)
            acknowledge(at, offset)

        producer = self._producers[record.codec]
        producer.produce(
            self._topic,
            record.value,
            record.key,
            partition,
            on_delivery=on_delivery,
            timestamp=record.timestamp,
            headers=list(record.headers),
        )
        producer.poll(0)
        while len(producer) > _MOST_IN_FLIGHT:
            producer.poll(0.1)

    def flush(self) -> None:
        """Wait until every record is acknowledged.

        Raises:
            TimeoutError: some are not.
        """
        if left := sum(producer.flush(_FLUSH_SECONDS) for producer in self._producers.values()):
            raise TimeoutError(f"librdkafka has {left} records that are not acknowledged")
