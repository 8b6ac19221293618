"""Sends events to the topic: each line of a file is the value of a record, byte for byte."""

from dataclasses import dataclass
from io import BufferedIOBase, BytesIO

import orjson

from worker.commands.line_stream import stream_lines
from worker.core.errors import DependencyError
from worker.kafka.line_sender import Line, LineSender, Producer
from worker.kafka.size_limit import MAX_RECORD_BYTES

ACKNOWLEDGE_SECONDS = 30.0


@dataclass(frozen=True)
class ProduceResult:
    """How many lines were acknowledged, and the numbers, from 1, of those that are larger than the topic allows."""

    sent: int
    too_large: tuple[int, ...] = ()


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
