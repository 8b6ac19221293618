"""`metrics-worker produce`: each line of a file becomes the value of a record, byte for byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader, BytesIO

import click
import orjson

from worker.commands.command_line import load_settings, print_stderr
from worker.commands.help_page import format_examples
from worker.commands.line_stream import stream_lines
from worker.commands.standard_streams import InputFile
from worker.core.errors import DependencyError
from worker.kafka.connection import require_topics
from worker.kafka.line_sender import Line, LineSender, Producer
from worker.kafka.size_limit import MAX_RECORD_BYTES
from worker.kafka.topic_producer import TopicProducer, open_producer
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable
from worker.settings.targets import kafka_target

ACKNOWLEDGE_SECONDS = 30.0
_EXAMPLES = format_examples(
    "metrics-worker produce events.jsonl",
    "tail -f events.jsonl | metrics-worker produce -",
)


@dataclass(frozen=True)
class ProduceResult:
    """How many lines were acknowledged, and the numbers, from 1, of those that are larger than the topic allows."""

    sent: int
    too_large: tuple[int, ...] = ()


@click.command(epilog=_EXAMPLES)
@click.argument("file", type=InputFile())
def produce(file: BufferedReader) -> None:
    """Send the JSON lines of FILE (- for standard input) to the topic, unchanged."""
    settings = load_settings(RequiredVariable.KAFKA)

    async def send() -> ProduceResult:
        async with connect_producer(settings) as producer:
            return await produce_lines(file, producer, settings.kafka_topic)

    produced = asyncio.run(send())
    print_stderr(
        f"{produced.sent} {'record' if produced.sent == 1 else 'records'} acknowledged by {settings.kafka_topic}"
    )
    if produced.too_large:
        print_stderr(f"too large for the topic and not sent: line {', '.join(map(str, produced.too_large))}")
        raise SystemExit(1)


async def produce_lines(
    file: BufferedIOBase, producer: Producer, topic: str, timeout_seconds: float = ACKNOWLEDGE_SECONDS
) -> ProduceResult:
    """Send each line of `file` to `topic`, unchanged and as soon as it arrives; blank lines are skipped.

    The key is the event's `execution_id` in its stored form; the timestamp is when the line was first sent, later than
    that of the line before with the same key, so that the last line of an execution wins. A line without a readable
    `execution_id` has no key. Nothing is validated: the worker does that. `file` may be a pipe or a terminal.

    Of a line that is longer than any record, only the number is kept.

    Raises DependencyError if Kafka does not acknowledge a record in time. Sending the whole file again is harmless.
    """
    sender = LineSender(producer, topic, timeout_seconds)
    too_long: list[int] = []
    try:
        async for number, content, _ in stream_lines(file, MAX_RECORD_BYTES):
            if content is None:
                too_long.append(number)
            elif content.strip():
                await sender.send(Line(number, content))
        await sender.flush()
    finally:
        sender.cancel()
    return ProduceResult(sender.acknowledged, tuple(sorted([*too_long, *sender.too_large])))


async def produce_event(
    event: dict[str, object], producer: Producer, topic: str, timeout_seconds: float = ACKNOWLEDGE_SECONDS
) -> None:
    """Send one event to `topic`. Raises DependencyError if Kafka does not acknowledge."""
    result = await produce_lines(BytesIO(orjson.dumps(event)), producer, topic, timeout_seconds)
    if not result.sent:
        raise DependencyError(f"the event is larger than topic {topic} allows")


@asynccontextmanager
async def connect_producer(settings: Settings) -> AsyncIterator[TopicProducer]:
    """Connect to the topic of the events. Raises DependencyError if it does not exist, or no broker answers."""
    target = kafka_target(settings)
    await require_topics(target, [settings.kafka_topic])
    idempotent = settings.kafka_producer_idempotence
    async with open_producer(target, settings.kafka_topic, idempotent=idempotent) as producer:
        yield producer
