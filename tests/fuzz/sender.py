"""Sends records by two clients, in each codec, and some of them in batches that cannot be parsed.

One client after the other: when two write to one partition at once, Tansu lets a consumer that follows them read past
records (deploy/local/README.md).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer

from deploy.local.demo.careless import Message
from deploy.local.demo.expectations import Expectations, RecordPosition
from tests.fuzz.fuzz_record import FuzzRecord
from tests.fuzz.librdkafka import LibrdkafkaSender
from tests.support.hostile import unreadable_batch

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
_MOST_IN_FLIGHT, _MOST_BYTES_IN_FLIGHT = 1_000, 32 * 2**20
_MAX_REQUEST_BYTES = 64 * 2**20
_BATCH_BYTES = 64 * 2**10
_ALONE = "alone"
_MAX_DIFFERENCE = 2**61
"""Milliseconds. A batch stores timestamps as differences from its first, which overflow 64 bits beyond this."""
_NO_TIMESTAMP = -1
"""The timestamp that means "none yet" in aiokafka's batches."""


class Sender:
    """Sends records; `expectations` receives each record that the topic has acknowledged.

    Attributes:
        numbers: of the records that were acknowledged, by position.
        bytes: of the values that were sent.
        kinds: how many records of each kind were acknowledged.
        clients: how many records each client has sent with each codec.
    """

    def __init__(self, servers: str, topic: str, partitions: int, expectations: Expectations) -> None:
        self.expectations = expectations
        self.numbers: dict[RecordPosition, int] = {}
        self.bytes = 0
        self.kinds: Counter[str] = Counter()
        self.clients: Counter[str] = Counter()
        self._servers = servers
        self._topic = topic
        self._partitions = partitions
        self._librdkafka = LibrdkafkaSender(servers, topic, CODECS, _BATCH_BYTES, _MAX_REQUEST_BYTES)
        self._producers: dict[str | None, AIOKafkaProducer] = {}
        self._in_flight: deque[tuple[int, FuzzRecord, Any]] = deque()
        self._bytes_in_flight = 0
        self._hostile: list[tuple[int, FuzzRecord]] = []
        self._last_client: tuple[bool, str | None] | None = None

    async def send(self, numbered: Iterable[tuple[int, FuzzRecord]], on_progress: Callable[[int], None]) -> None:
        """Send records with their numbers; call `on_progress` with the number of acknowledged ones."""
        async with AsyncExitStack() as opened:
            for codec in (*CODECS, _ALONE):
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._servers,
                    acks="all",
                    linger_ms=5,
                    max_batch_size=1 if codec == _ALONE else _BATCH_BYTES,
                    max_request_size=_MAX_REQUEST_BYTES,
                    compression_type=None if codec == _ALONE else codec,
                )
                self._producers[codec] = await opened.enter_async_context(producer)
            for number, record in numbered:
                await self._send(number, record)
                if number % 500 == 0:
                    on_progress(len(self.numbers))
            await self._send_hostile()
            await self._flush()

    async def _send(self, number: int, record: FuzzRecord) -> None:
        self.bytes += len(record.value or b"")
        if self._hostile and record.batch != self._hostile[0][1].batch:
            await self._send_hostile()
        await self._wait_for_room()
        self._bytes_in_flight += len(record.value or b"")
        if record.batch is not None:
            self._hostile.append((number, record))
            return
        partition = number % self._partitions
        producer_name = _ALONE if _needs_own_batch(record.timestamp) else record.codec
        await self._change_client(record.librdkafka, producer_name)
        if record.librdkafka:
            self._librdkafka.send(record, partition, partial(self._acknowledge, number, record))
            return
        acknowledgement = await self._producers[producer_name].send(
            self._topic,
            record.value,
            record.key,
            partition=partition,
            timestamp_ms=record.timestamp,
            headers=list(record.headers),
        )
        self._in_flight.append((number, record, acknowledgement))
        while len(self._in_flight) > _MOST_IN_FLIGHT:
            await self._await_oldest()

    async def _change_client(self, librdkafka: bool, producer: str | None) -> None:
        if self._last_client != (librdkafka, producer):
            await self._flush()
            self._last_client = librdkafka, producer

    async def _flush(self) -> None:
        """Wait until every record is acknowledged."""
        while self._in_flight:
            await self._await_oldest()
        self._librdkafka.flush()

    async def _wait_for_room(self) -> None:
        """Wait for acknowledgements of large records: a broker that is busy answers later than the clients wait."""
        while self._bytes_in_flight > _MOST_BYTES_IN_FLIGHT:
            if self._in_flight:
                await self._await_oldest()
            else:
                self._librdkafka.flush()

    async def _await_oldest(self) -> None:
        number, record, acknowledgement = self._in_flight.popleft()
        at = await acknowledgement
        self._acknowledge(number, record, at.partition, at.offset)

    async def _send_hostile(self) -> None:
        batch, self._hostile = self._hostile, []
        if not batch:
            return
        await self._change_client(librdkafka=False, producer=None)
        bad = [record.unreadable for _, record in batch].index(True)
        producer = self._producers[None]
        built = unreadable_batch(producer, [(record.value, record.timestamp) for _, record in batch], bad)
        partition = batch[0][0] % self._partitions
        at = await (await producer.send_batch(built, self._topic, partition=partition))
        for place, (number, record) in enumerate(batch):
            self._acknowledge(number, record, partition, at.offset + place)

    def _acknowledge(self, number: int, record: FuzzRecord, partition: int, offset: int) -> None:
        position = RecordPosition(partition, offset)
        if position in self.numbers:
            raise ValueError(f"the broker has acknowledged two records at {position}")
        self._bytes_in_flight -= len(record.value or b"")
        self.numbers[position] = number
        self.kinds[record.kind] += 1
        self.clients[f"{'librdkafka' if record.librdkafka else 'aiokafka'}, {record.codec or 'not compressed'}"] += 1
        if record.unreadable:
            # The others are alone in a batch that inflates beyond the bound.
            self.expectations.add_unparsable(
                position, "UnreadableBatch" if record.batch is None else "UnreadableRecord"
            )
        else:
            message = Message(record.key, record.value, record.headers)
            self.expectations.add_record(message, position, record.timestamp)


def _needs_own_batch(timestamp: int) -> bool:
    """Whether aiokafka would write another timestamp if the record shared its batch."""
    return timestamp == _NO_TIMESTAMP or abs(timestamp) > _MAX_DIFFERENCE
