"""The events of the benchmarks, generated fast enough for millions of them."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from random import Random
from typing import NamedTuple
from uuid import UUID

import orjson

from tests.benchmarks.labels import draw_labels
from tests.benchmarks.metric_maps import MetricMaps, count_rows
from tests.benchmarks.shape import Shape

Headers = tuple[tuple[str, bytes], ...]

_FIRST_SECOND = 1_788_220_800  # 2026-09-01, so that an hour of events is in one month
_DAY_SECONDS = 86_400
_MONTH_SECONDS = 31 * _DAY_SECONDS
_HEADERS: Headers = (
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("content-type", b"application/json"),
    ("producer", b"agents/1.4.2"),
)
_ZONE = timezone(timedelta(hours=2))
_MICROSECONDS = timedelta(microseconds=123)
_BINARY_CLOUDEVENT: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"agent.execution.completed"),
    ("ce_source", b"/agents"),
    ("ce_id", b"3f8e9a52-3b0e-4a3b-9d53-0c1b6b3a2f11"),
    ("content-type", b"application/json"),
)
_STRUCTURED_CLOUDEVENT: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)

_OPTIONAL_FIELDS = {
    "schema_version": "1.2",
    "event_id": "9d1f5c1e-56a5-4f5e-8a55-6d2a4f0f1d11",
    "started_at": "2026-08-31T23:59:00Z",
    "status": "completed",
}


class GeneratedEvent(NamedTuple):
    """A record of one event.

    Attributes:
        value: the event as JSON.
        results: how many rows and dead letters the event becomes.
        timestamp: of the record, in milliseconds; 0 is the time of producing.
    """

    value: bytes
    results: int
    timestamp: int = 0
    key: bytes | None = None
    headers: Headers = ()


class EventGenerator:
    """Generates different events of one shape, the same for each seed."""

    def __init__(self, shape: Shape, seed: int = 20260901) -> None:
        self._shape = shape
        self._random = Random(seed)
        self._maps = MetricMaps(shape, self._random)

    def generate(self, count: int) -> Iterator[GeneratedEvent]:
        """`count` events, a thousand a second, in the order of their records."""
        shape, random = self._shape, self._random
        for number in range(count):
            second, millisecond = _FIRST_SECOND + number // 1_000, number % 1_000
            age = number % shape.months * _MONTH_SECONDS
            if shape.random_times and random.random() < shape.random_times:
                age = random.randrange(shape.time_range_days * _DAY_SECONDS)
            event = self.build(number, f"{_format_second(second - age)}.{millisecond:03}Z")
            is_too_old = 0 < shape.max_age_days * _DAY_SECONDS < age
            yield event._replace(timestamp=second * 1_000 + millisecond, results=1 if is_too_old else event.results)

    def build(self, number: int, completed_at: str) -> GeneratedEvent:
        """One event; `number` decides about agent and user."""
        shape = self._shape
        agent = number % shape.agents
        metrics = self._maps.draw(agent)
        execution_id = str(UUID(int=self._random.getrandbits(128)))
        document: dict[str, object] = {
            "execution_id": execution_id,
            "agent_name": f"agént-{agent}" if shape.non_ascii else f"agent-{agent}",
        }
        if shape.users:
            user = number % shape.users
            document["user_id"] = f"usér-{user}" if shape.non_ascii else f"user-{user}"
        if shape.has_completed_at:
            document["completed_at"] = _to_local_time(completed_at) if shape.local_times else completed_at
        if shape.optional_fields:
            document |= _OPTIONAL_FIELDS
        if shape.labels or shape.distinct_labels:
            document["labels"] = draw_labels(shape, self._random, agent)
        document["metrics"] = metrics
        if shape.padding:
            document["note"] = "x" * shape.padding
        return GeneratedEvent(
            orjson.dumps(_wrap(document) if shape.cloudevent == "structured" else document),
            count_rows(metrics),
            key=execution_id.encode() if shape.keyed else None,
            headers=_headers(shape),
        )


def _wrap(document: dict[str, object]) -> dict[str, object]:
    attributes = {name.removeprefix("ce_"): value.decode() for name, value in _BINARY_CLOUDEVENT[:-1]}
    return {**attributes, "datacontenttype": "application/json", "data": document}


def _headers(shape: Shape) -> Headers:
    if shape.cloudevent:
        return _BINARY_CLOUDEVENT if shape.cloudevent == "binary" else _STRUCTURED_CLOUDEVENT
    return _HEADERS[: shape.headers]


def _to_local_time(completed_at: str) -> str:
    """The same time, with the offset of a zone and with microseconds, as Python writes it."""
    return (datetime.fromisoformat(completed_at) + _MICROSECONDS).astimezone(_ZONE).isoformat()


@lru_cache(maxsize=8)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
