"""The events of the benchmarks, generated fast enough for millions of them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import NamedTuple
from uuid import UUID

import orjson

METRICS = (
    "execution_time_ms", "memory_usage_mb", "cpu_percent", "result_success", "input_tokens", "output_tokens",
    "cost_usd", "tool_calls", "retries", "queue_time_ms",
)  # fmt: skip
_FIRST_SECOND = 1_788_220_800  # 2026-09-01, so that an hour of events is in one month
_DAY_SECONDS = 86_400
_WIDE = tuple(f"detail_{number:03}" for number in range(1_000))


@dataclass(frozen=True)
class Shape:
    """One kind of event.

    Attributes:
        metrics: in each event.
        padding: bytes of a field that the worker ignores.
        users, agents: number of different ones.
        poison: share of the events that have one metric below 0, which a constrained table refuses.
        refused: share of the events that have one more metric, `refused`, which is always below 0.
        random_times: share of the events that were completed at any time of the `time_range_days` before their record.
        random_names: share of the events whose metrics have names that no other event has.
        wide: share of the events that have a thousand metrics.
        max_age_days: `EVENT_MAX_AGE_DAYS` of the worker.
    """

    metrics: int = 10
    padding: int = 0
    users: int = 5_000
    agents: int = 20
    poison: float = 0.0
    refused: float = 0.0
    random_times: float = 0.0
    time_range_days: int = 400
    random_names: float = 0.0
    wide: float = 0.0
    max_age_days: int = 400

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the metrics."""
        more = (f"{METRICS[number % len(METRICS)]}_{number}" for number in range(len(METRICS), self.metrics))
        return (*METRICS[: self.metrics], *more)

    @property
    def poisoned(self) -> bool:
        """Whether the table must be constrained."""
        return self.poison > 0 or self.refused > 0

    @property
    def has_dead_letters(self) -> bool:
        """Whether some metrics or events become dead letters."""
        return self.poisoned or (self.random_times > 0 and 0 < self.max_age_days < self.time_range_days)


class GeneratedEvent(NamedTuple):
    """An event as JSON, the timestamp of its record in milliseconds, and how many rows and dead letters it becomes."""

    value: bytes
    timestamp: int
    results: int


def generate_events(shape: Shape, count: int, seed: int = 20260901) -> Iterator[GeneratedEvent]:
    """`count` different events, the same for each seed."""
    random = Random(seed)
    for number in range(count):
        second, millisecond = _FIRST_SECOND + number // 1_000, number % 1_000
        age = 0
        if shape.random_times and random.random() < shape.random_times:
            age = random.randrange(shape.time_range_days * _DAY_SECONDS)
        value, metrics = build_event(shape, random, number, f"{_format_second(second - age)}.{millisecond:03}Z")
        is_too_old = 0 < shape.max_age_days * _DAY_SECONDS < age
        yield GeneratedEvent(value, second * 1_000 + millisecond, 1 if is_too_old else metrics)


def build_event(shape: Shape, random: Random, number: int, completed_at: str) -> tuple[bytes, int]:
    """One event as JSON, and the number of its metrics."""
    values = {name: round(random.random() * 10_000, 3) for name in _choose_names(shape, random)}
    if shape.poison and random.random() < shape.poison:
        values[random.choice(shape.names)] = -1.0
    if shape.refused and random.random() < shape.refused:
        values["refused"] = -1.0
    document = {
        "execution_id": str(UUID(int=random.getrandbits(128))),
        "agent_name": f"agent-{number % shape.agents}",
        "user_id": f"user-{number % shape.users}",
        "completed_at": completed_at,
        "metrics": values,
    }
    if shape.padding:
        document["note"] = "x" * shape.padding
    return orjson.dumps(document), len(values)


def _choose_names(shape: Shape, random: Random) -> tuple[str, ...]:
    if shape.wide and random.random() < shape.wide:
        return _WIDE
    if shape.random_names and random.random() < shape.random_names:
        return tuple(f"request_{random.getrandbits(64):016x}" for _ in shape.names)
    return shape.names


@lru_cache(maxsize=1)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
