"""Lines and events are sent through a real broker."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from tests.support.topic import read
from worker.commands.execution import measure
from worker.commands.produce import ProduceResult, produce_event, produce_lines
from worker.kafka.connection import KafkaTarget, producing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import AIOKafkaProducer

    from deploy.local.broker import KafkaServer
    from tests.support.local import Topics


@pytest.fixture
async def producer(broker: KafkaServer) -> AsyncIterator[AIOKafkaProducer]:
    async with producing(KafkaTarget(broker.bootstrap_servers), idempotent=broker.idempotence) as producer:
        yield producer


async def test_lines_arrive_byte_for_byte(broker: KafkaServer, topics: Topics, producer: AIOKafkaProducer) -> None:
    lines = [b'{"execution_id": "%d", "metrics": {}}' % number for number in range(3_000)] + [b"\xff not JSON"]

    assert await produce_lines(BytesIO(b"\n".join(lines)), producer, topics.events) == ProduceResult(sent=3_001)

    keys = {record.value: record.key for record in await read(broker.bootstrap_servers, topics.events, 3_001)}
    assert keys == {**{line: str(number).encode() for number, line in enumerate(lines)}, lines[-1]: None}


async def test_line_beyond_the_limit_of_the_client_is_reported(topics: Topics, producer: AIOKafkaProducer) -> None:
    result = await produce_lines(BytesIO(b"small\n" + b"x" * 2**21), producer, topics.events)

    assert result == ProduceResult(sent=1, too_large=(2,))


async def test_event_of_a_command_arrives(broker: KafkaServer, topics: Topics, producer: AIOKafkaProducer) -> None:
    event = measure(["true"], "agent").event

    await produce_event(event, producer, topics.events)

    (record,) = await read(broker.bootstrap_servers, topics.events, 1)
    assert record.key == str(event["execution_id"]).encode()
    assert record.key in record.value
