"""What careless producers send: each function spoils one event in one way."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]
_HERE = "@here@"
_NEARLY_ALL = 1_048_200
"""Bytes of a record that the topic takes, and whose dead letter, with its headers, it does not take."""


class Message(NamedTuple):
    """A record to be sent."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


Producer = Callable[[dict[str, Any], Random], Message]


def ordinary(event: dict[str, Any], _random: Random | None = None) -> Message:
    """An event as it should be."""
    return Message(event["execution_id"].encode(), json.dumps(event).encode())


def oversized(event: dict[str, Any], _random: Random) -> Message:
    """A file in place of an event."""
    return Message(event["execution_id"].encode(), b"\x89PNG" + bytes(_NEARLY_ALL))


def _metric(name: str, literal: str) -> Producer:
    """One metric more, whose value is written as `literal`."""

    def spoil(event: dict[str, Any], random: Random) -> Message:
        message = ordinary(event | {"metrics": event["metrics"] | {name: _HERE}}, random)
        return message._replace(value=(message.value or b"").replace(f'"{_HERE}"'.encode(), literal.encode()))

    return spoil


def _field(name: str, value: object) -> Producer:
    return lambda event, random: ordinary(event | {name: value}, random)


def _negative_duration(event: dict[str, Any], random: Random) -> Message:
    """The clock was set back while it ran."""
    measured = event["metrics"]
    return ordinary(event | {"metrics": measured | {"execution_time_ms": round(-random.uniform(1, 5_000), 3)}}, random)


def _garbage(event: dict[str, Any], random: Random) -> Message:
    return Message(event["execution_id"].encode(), b"\xff" + random.randbytes(random.randrange(8, 64)))


def _truncated(event: dict[str, Any], random: Random) -> Message:
    key, value, _ = ordinary(event, random)
    return Message(key, (value or b"")[: random.randrange(20, 200)])


def _anonymous(event: dict[str, Any], _random: Random) -> Message:
    """Without its execution_id."""
    return Message(None, json.dumps({name: event[name] for name in event if name != "execution_id"}).encode())


def _tombstone(event: dict[str, Any], _random: Random) -> Message:
    return Message(event["execution_id"].encode(), None)


def _cloudevent_binary(event: dict[str, Any], random: Random) -> Message:
    """Not careless, only another habit: it must be read as any other."""
    headers = {"ce_specversion": "1.0", "ce_type": "execution.completed", "content-type": "application/json"}
    return ordinary(event, random)._replace(headers=tuple((name, text.encode()) for name, text in headers.items()))


def _cloudevent_structured(event: dict[str, Any], _random: Random) -> Message:
    envelope = {"specversion": "1.0", "id": event["execution_id"], "source": "demo", "type": "execution.completed"}
    headers = (("content-type", b"application/cloudevents+json"),)
    return Message(event["execution_id"].encode(), json.dumps(envelope | {"data": event}).encode(), headers)


CARELESS_PRODUCERS: tuple[Producer, ...] = (
    _metric("quality_score", "NaN"),
    _metric("cost_usd", "Infinity"),
    _metric("tokens_per_second", "1e400"),
    _metric("model", '"large"'),
    _metric("parent_execution", "null"),
    _metric("tools", '["grep", "sed"]'),
    _metric("latency", '{"p50": 12, "p99": 80}'),
    _metric("", "1"),
    _negative_duration,
    _garbage,
    _truncated,
    _anonymous,
    _field("schema_version", 2),
    _field("metrics", [["execution_time_ms", 12]]),
    _field("completed_at", "yesterday"),
    _tombstone,
    _cloudevent_binary,
    _cloudevent_structured,
)
"""Every way to spoil an event; `oversized` is apart, because one of its kind is enough."""
