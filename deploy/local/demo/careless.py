"""Careless producers: each makes one kind of mistake in an event, or does something unusual."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]
_PLACEHOLDER = "@here@"
_NEARLY_TOO_LARGE = 1_048_200
"""Bytes of a record that fits the topic, and whose dead letter, with its headers, does not."""


class Message(NamedTuple):
    """A record to be sent; without `timestamp_ms`, its timestamp is the time of sending."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


Producer = Callable[[dict[str, Any], Random], Message]


def build_message(event: dict[str, Any], _random: Random | None = None) -> Message:
    """The message of a valid event."""
    return Message(event["execution_id"].encode(), json.dumps(event).encode())


def build_oversized(event: dict[str, Any], _random: Random) -> Message:
    """A file in place of an event, too large for its dead letter."""
    return Message(event["execution_id"].encode(), b"\x89PNG" + bytes(_NEARLY_TOO_LARGE))


def _with_metric(name: str, literal: str) -> Producer:
    """A producer of one more metric, whose value is written as `literal`."""

    def build(event: dict[str, Any], random: Random) -> Message:
        message = build_message(event | {"metrics": event["metrics"] | {name: _PLACEHOLDER}}, random)
        return message._replace(value=(message.value or b"").replace(f'"{_PLACEHOLDER}"'.encode(), literal.encode()))

    return build


def _with_field(name: str, value: object) -> Producer:
    return lambda event, random: build_message(event | {name: value}, random)


def _build_negative_duration(event: dict[str, Any], random: Random) -> Message:
    """The clock was set back during the execution; the table's constraint refuses the duration."""
    measured = event["metrics"]
    return build_message(
        event | {"metrics": measured | {"execution_time_ms": round(-random.uniform(1, 5_000), 3)}}, random
    )


def _build_garbage(event: dict[str, Any], random: Random) -> Message:
    return Message(event["execution_id"].encode(), b"\xff" + random.randbytes(random.randrange(8, 64)))


def _build_truncated(event: dict[str, Any], random: Random) -> Message:
    key, value, *_ = build_message(event, random)
    return Message(key, (value or b"")[: random.randrange(20, 200)])


def _build_without_execution_id(event: dict[str, Any], _random: Random) -> Message:
    return Message(None, json.dumps({name: event[name] for name in event if name != "execution_id"}).encode())


def _build_run_id(event: dict[str, Any], _random: Random) -> Message:
    """Not careless: any text is an id."""
    return build_message(event | {"execution_id": f"run_{event['execution_id'][:8]}"})


def _build_epoch_time(event: dict[str, Any], _random: Random) -> Message:
    """Not careless: seconds since 1970 are a time."""
    return build_message(event | {"completed_at": datetime.fromisoformat(event["completed_at"]).timestamp()})


def _build_tombstone(event: dict[str, Any], _random: Random) -> Message:
    return Message(event["execution_id"].encode(), None)


def _build_binary_cloudevent(event: dict[str, Any], random: Random) -> Message:
    """Not careless: it must be read as any other event."""
    headers = {"ce_specversion": "1.0", "ce_type": "execution.completed", "content-type": "application/json"}
    return build_message(event, random)._replace(headers=tuple((name, text.encode()) for name, text in headers.items()))


def _build_structured_cloudevent(event: dict[str, Any], _random: Random) -> Message:
    envelope = {"specversion": "1.0", "id": event["execution_id"], "source": "demo", "type": "execution.completed"}
    headers = (("content-type", b"application/cloudevents+json"),)
    return Message(event["execution_id"].encode(), json.dumps(envelope | {"data": event}).encode(), headers)


CARELESS_PRODUCERS: tuple[Producer, ...] = (
    _with_metric("quality_score", "NaN"),
    _with_metric("cost_usd", "Infinity"),
    _with_metric("tokens_per_second", "1e400"),
    _with_metric("model", '"large"'),
    _with_metric("parent_execution", "null"),
    _with_metric("tools", '["grep", "sed"]'),
    _with_metric("latency", '{"p50": 12, "p99": 80}'),
    _with_metric("", "1"),
    _build_negative_duration,
    _build_garbage,
    _build_truncated,
    _build_without_execution_id,
    _with_field("schema_version", 2),
    _with_field("metrics", [["execution_time_ms", 12]]),
    _with_field("completed_at", "yesterday"),
    _with_field("labels", {"release": "2026.11", "attempt": 2}),
    _with_field("user_id", 42),
    _build_run_id,
    _build_epoch_time,
    _build_tombstone,
    _build_binary_cloudevent,
    _build_structured_cloudevent,
)
"""All but `build_oversized`, of which one message is enough."""
