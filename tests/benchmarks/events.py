"""The events of the benchmarks, generated fast enough for millions of them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from uuid import UUID

import orjson

METRICS = (
    "execution_time_ms", "memory_usage_mb", "cpu_percent", "result_success", "input_tokens", "output_tokens",
    "cost_usd", "tool_calls", "retries", "queue_time_ms",
)  # fmt: skip
_FIRST_SECOND = 1_788_220_800  # 2026-09-01, so that an hour of events is in one month


@dataclass(frozen=True)
class Shape:
    """One kind of event.

    Attributes:
        metrics: in each event.
        padding: bytes of a field that the worker ignores.
        users, agents: number of different ones.
        poison: share of the events that have one metric below 0, which a constrained table refuses.
        refused: share of the events that have one more metric, `refused`, which is always below 0.
    """

    metrics: int = 10
    padding: int = 0
    users: int = 5_000
    agents: int = 20
    poison: float = 0.0
    refused: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the metrics."""
        more = (f"{METRICS[number % len(METRICS)]}_{number}" for number in range(len(METRICS), self.metrics))
        return (*METRICS[: self.metrics], *more)

    @property
    def poisoned(self) -> bool:
        """Whether the table must be constrained."""
        return self.poison > 0 or self.refused > 0


def generate_events(shape: Shape, count: int, seed: int = 20260901) -> Iterator[bytes]:
    """`count` different events, the same for each seed."""
    random = Random(seed)
    for number in range(count):
        second = _FIRST_SECOND + number // 1_000
        yield build_event(shape, random, number, f"{_format_second(second)}.{number % 1_000:03}Z")


def build_event(shape: Shape, random: Random, number: int, completed_at: str) -> bytes:
    """One event as JSON."""
    values = {name: round(random.random() * 10_000, 3) for name in shape.names}
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
    return orjson.dumps(document)


@lru_cache(maxsize=1)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
