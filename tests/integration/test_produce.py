"""Lines and events through a real broker."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer

from worker.commands.execution import measure
from worker.commands.produce import ProduceResult, produce_event, produce_lines
from worker.kafka.connection import KafkaTarget, producing

if TYPE_CHECKING:
    from deploy.local.broker import KafkaServer
    from tests.support.local import Topics


async def consume(broker: KafkaServer, topic: str, count: int) -> list[tuple[bytes | None, bytes | None]]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            records = [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()
    return [(record.key, record.value) for record in records]


async def test_lines_arrive_byte_for_byte(broker: KafkaServer, topics: Topics) -> None:
    lines = [b'{"execution_id": "%d", "metrics": {}}' % number for number in range(3_000)] + [b"\xff not JSON"]

    async with producing(KafkaTarget(broker.bootstrap_servers), idempotent=broker.idempotence) as producer:
        produced = await produce_lines(BytesIO(b"\n".join(lines)), producer, topics.events)

    assert produced == ProduceResult(sent=3_001)
    records = await consume(broker, topics.events, 3_001)
    assert sorted(value or b"" for _, value in records) == sorted(lines)
    assert {key for key, value in records if value == lines[-1]} == {None}
    assert {key for key, value in records if value == lines[7]} == {b"7"}


async def test_a_line_beyond_the_limit_of_the_client_is_named(broker: KafkaServer, topics: Topics) -> None:
    async with producing(KafkaTarget(broker.bootstrap_servers), idempotent=broker.idempotence) as producer:
        produced = await produce_lines(BytesIO(b"small\n" + b"x" * 2**21), producer, topics.events)

    assert produced == ProduceResult(sent=1, too_large=(2,))


async def test_the_event_of_a_command_arrives(broker: KafkaServer, topics: Topics) -> None:
    event = measure(["true"], "agent").event

    async with producing(KafkaTarget(broker.bootstrap_servers), idempotent=broker.idempotence) as producer:
        await produce_event(event, producer, topics.events)

    ((key, value),) = await consume(broker, topics.events, 1)
    assert key == str(event["execution_id"]).encode()
    assert value is not None
    assert str(event["execution_id"]).encode() in value
