"""The records of a run. A seed gives the same records each time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any
from uuid import UUID

from deploy.local.demo.careless import CARELESS_PRODUCERS, Message, build_message

METRICS = ("execution_time_ms", "memory_usage_mb", "cost_usd", "output_tokens", "result_success")
REFUSED_METRIC = "execution_time_ms"
"""The metric that a constraint of the table refuses below 0; see `deploy.local.demo.reference`."""
FILE_BYTES = 40_000
_FIRST = (datetime.now(UTC) - timedelta(days=100)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
"""The first of a month, not long before the timestamps of the records, which are those of the run."""
_OTHER_MONTH = timedelta(days=40)
_ANY_TIME_SECONDS = 250 * 86_400
_OTHER_MONTH_SHARE = 0.1
"""Some events belong to another month, so that a batch is two inserts, and a kill can come between them."""


@dataclass(frozen=True)
class EventMix:
    """What the events of a run are like.

    Attributes:
        careless: share of the events that come from a careless producer, see `deploy.local.demo.careless`.
        refused: share of the events with a metric that the table refuses.
        files: share of the records that are a file of `FILE_BYTES` in place of an event.
        metrics: the names of the metrics of each event.
        random_times: share of the events that were completed at any time of the year before.
    """

    careless: float = 0.01
    refused: float = 0.0
    files: float = 0.0
    metrics: tuple[str, ...] = METRICS
    random_times: float = 0.0


VALID_ONLY = EventMix(careless=0.0)
"""Every metric of every event must become a row."""


def generate_messages(random: Random, mix: EventMix) -> Iterator[Message]:
    """Records without end."""
    for number in count():
        event = _build_event(random, number, mix)
        if mix.files and random.random() < mix.files:
            yield Message(event["execution_id"].encode(), random.randbytes(FILE_BYTES))
            continue
        careless = random.random() < mix.careless
        yield random.choice(CARELESS_PRODUCERS)(event, random) if careless else build_message(event)


def _build_event(random: Random, number: int, mix: EventMix) -> dict[str, Any]:
    at = _FIRST + timedelta(milliseconds=number)
    if random.random() < _OTHER_MONTH_SHARE:
        at += _OTHER_MONTH
    if mix.random_times and random.random() < mix.random_times:
        at -= timedelta(seconds=random.randrange(_ANY_TIME_SECONDS))
    metrics: dict[str, Any] = {name: round(random.uniform(0, 10_000), 3) for name in mix.metrics}
    if "result_success" in metrics:
        metrics["result_success"] = random.random() < 0.9
    if random.random() < mix.refused:
        metrics[REFUSED_METRIC] = -metrics[REFUSED_METRIC] - 1
    return {
        "execution_id": str(UUID(int=random.getrandbits(128), version=4)),
        "agent_name": f"agent-{number % 20}",
        "user_id": f"user-{number % 1_000}",
        "labels": {"release": f"2026.{number // 1_000 % 3}", "model": f"m-{number % 5}"},
        "completed_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "metrics": metrics,
    }
