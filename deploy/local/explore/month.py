"""A month of executions, generated: as much on each working day, less at night and at weekends."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

from deploy.local.demo.careless import Message, build_message
from deploy.local.explore.agents import AGENTS, PRICES, Agent, Release

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = 30
USERS = 300
_SEED = 20260901
_HOURS = (1, 1, 1, 1, 1, 2, 3, 5, 8, 10, 11, 11, 9, 10, 11, 10, 9, 8, 6, 4, 3, 2, 2, 1)
"""Executions by the hour of the day (UTC), relative to each other."""
_WEEKEND = 0.3
_ERRORS = {"timeout": 5, "rate_limit": 3, "tool_error": 2, "context_length_exceeded": 1}
_ENVIRONMENTS = {"production": 9, "staging": 1}


def generate_month(count: int, now: datetime) -> Iterator[Message]:
    """`count` events of the thirty days before `now`, in their order.

    The record of each has the time at which its producer would have sent it. The same for the same `now`.
    """
    random = Random(_SEED)  # noqa: S311 - nothing here is a secret
    for completed in sorted(_draw_instants(count, now, random)):
        days_ago = (now - completed) / timedelta(days=1)
        agents = [agent for agent in AGENTS if agent.silent_days <= days_ago]
        (agent,) = random.choices(agents, [agent.share for agent in agents])
        release = [release for release in agent.releases if release.days_ago >= days_ago][-1]
        sent = completed + timedelta(milliseconds=random.randrange(20, 3_000))
        event = _draw_event(agent, release, completed, random)
        yield build_message(event)._replace(timestamp_ms=int(min(sent, now).timestamp() * 1_000))


def count_rows(message: Message) -> int:
    """How many rows the event becomes: all of its metrics are numbers or booleans."""
    return len(json.loads(message.value or b"")["metrics"])


def _draw_instants(count: int, now: datetime, random: Random) -> Iterator[datetime]:
    """At least a few of the last hour, whatever the hour."""
    for number in range(count):
        if number % 200 == 0:
            yield now - timedelta(seconds=random.randrange(1, 3_600))
            continue
        instant = now - timedelta(seconds=random.random() * DAYS * 86_400)
        while random.random() > _HOURS[instant.hour] / max(_HOURS) * (_WEEKEND if instant.weekday() >= 5 else 1):
            instant = now - timedelta(seconds=random.random() * DAYS * 86_400)
        yield instant


def _draw_event(agent: Agent, release: Release, completed: datetime, random: Random) -> dict[str, Any]:
    error = _choose(_ERRORS, random) if random.random() < release.failures else ""
    model = _choose(agent.models, random)
    seconds = agent.seconds * release.slower * random.lognormvariate(0, 0.5) * (4 if error == "timeout" else 1)
    return {
        "schema_version": 1,
        "execution_id": str(UUID(int=random.getrandbits(128), version=4)),
        "agent_name": agent.name,
        # A few users do much: the square of a random number is often small.
        "user_id": f"user-{int(random.random() ** 2 * USERS) + 1:03}" if random.random() < 0.95 else None,
        "started_at": _format(completed - timedelta(seconds=seconds)),
        "completed_at": _format(completed),
        "status": "error" if error else "ok",
        "labels": {
            "gen_ai.request.model": model,
            "service.version": release.name,
            "deployment.environment.name": _choose(_ENVIRONMENTS, random),
            **({"error.type": error} if error else {}),
        },
        "metrics": _draw_metrics(agent, model, seconds, error, random),
    }


def _draw_metrics(agent: Agent, model: str, seconds: float, error: str, random: Random) -> dict[str, Any]:
    output = int(agent.tokens * random.lognormvariate(0, 0.6) * (0.4 if error else 1)) + 1
    given = int(output * random.uniform(2, 9)) + 200
    metrics = {
        "execution_time_ms": round(seconds * 1_000, 1),
        "queue_time_ms": round(random.expovariate(1 / 40), 1),
        "memory_usage_mb": round(random.gauss(220, 25), 1),
        "cpu_percent": round(random.uniform(3, 60), 1),
        "input_tokens": given,
        "output_tokens": output,
        "cost_usd": round((output + given / 5) * PRICES[model] / 1e6, 6),
        "tool_calls": random.randrange(8),
        "retries": min(int(random.expovariate(2)), 5),
        "result_success": not error,
    }
    if agent.scores and not error and random.random() < 0.3:
        metrics["quality_score"] = round(min(random.gauss(0.82, 0.1), 1.0), 3)
    return metrics


def _choose(weights: dict[str, float] | dict[str, int], random: Random) -> str:
    (chosen,) = random.choices(list(weights), list(weights.values()))
    return chosen


def _format(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
