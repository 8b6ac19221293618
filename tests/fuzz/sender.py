"""Records onto the topic, by one producer for each codec, in batches of any kind."""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from tests.fuzz.sent_records import RecordPosition, SentRecords
from tests.support.hostile import unreadable_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.fuzz.fuzz_record import FuzzRecord

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
_IN_FLIGHT = 1_000
_LARGEST = 64 * 2**20
_BATCH = 64 * 2**10
_ALONE = "alone"
_FAR = 2**61
"""Milliseconds; a batch keeps how far a timestamp is from its first one, and beyond this 64 bits overflow."""
_NONE = -1
"""The timestamp by which aiokafka's producer means that a batch has none yet."""


class Sender:
    """Use it as an asynchronous context manager; when that ends everything is acknowledged and in the ledger."""

    def __init__(self, servers: str, topic: str, partitions: int, sent: SentRecords) -> None:
        self._servers = servers
        self._topic = topic
        self._partitions = partitions
        self._ledger = sent
        self._producers: dict[str | None, AIOKafkaProducer] = {}
        self._under_way: deque[tuple[int, Any]] = deque()
        self._hostile: list[tuple[int, FuzzRecord]] = []
        self._opened = AsyncExitStack()
        self.bytes = 0

    async def __aenter__(self) -> Sender:
        for codec in (*CODECS, _ALONE):
            producer = AIOKafkaProducer(
                bootstrap_servers=self._servers,
                acks="all",
                linger_ms=5,
                max_batch_size=1 if codec == _ALONE else _BATCH,
                max_request_size=_LARGEST,
                compression_type=None if codec == _ALONE else codec,
            )
            self._producers[codec] = await self._opened.enter_async_context(producer)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self._send_hostile()
            while self._under_way:
                await self._land()
        await self._opened.aclose()

    async def send(self, numbered: Iterable[tuple[int, FuzzRecord]], on_progress: Callable[[int], None]) -> None:
        """Send records with their numbers; `on_progress` hears how many are acknowledged."""
        for number, record in numbered:
            self.bytes += len(record.value or b"")
            if self._hostile and record.batch != self._hostile[0][1].batch:
                await self._send_hostile()
            if record.batch is not None:
                self._hostile.append((number, record))
                continue
            producer = self._producers[_ALONE if _stands_alone(record.timestamp) else record.codec]
            acknowledgement = await producer.send(
                self._topic,
                record.value,
                record.key,
                partition=number % self._partitions,
                timestamp_ms=record.timestamp,
                headers=list(record.headers),
            )
            self._under_way.append((number, acknowledgement))
            while len(self._under_way) > _IN_FLIGHT:
                await self._land()
            if number % 500 == 0:
                on_progress(self._ledger.records)

    async def _land(self) -> None:
        number, acknowledgement = self._under_way.popleft()
        at = await acknowledgement
        self._ledger.add(RecordPosition(at.partition, at.offset), number)

    async def _send_hostile(self) -> None:
        batch, self._hostile = self._hostile, []
        if not batch:
            return
        bad = [record.unreadable for _, record in batch].index(True)
        producer = self._producers[None]
        built = unreadable_batch(producer, [(record.value, record.timestamp) for _, record in batch], bad)
        partition = batch[0][0] % self._partitions
        at = await (await producer.send_batch(built, self._topic, partition=partition))
        for position, (number, _) in enumerate(batch):
            self._ledger.add(RecordPosition(partition, at.offset + position), number)


def _stands_alone(timestamp: int) -> bool:
    """Whether aiokafka would write another timestamp when the record shares its batch."""
    return timestamp == _NONE or abs(timestamp) > _FAR
