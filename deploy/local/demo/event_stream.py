"""The stream of events: the measured executions, replayed, with the events of careless producers among them."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain, cycle
from typing import TYPE_CHECKING, Any
from uuid import UUID

from deploy.local.demo.careless import CARELESS_PRODUCERS, Message, build_message, build_oversized

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

CARELESS_SHARE = 50
"""One event in so many is careless; a short stream has two of each careless producer."""
_STEP = timedelta(milliseconds=5)
_TIMES = ("start_timestamp", "end_timestamp")


def count_careless(count: int) -> int:
    """How many of `count` events are careless."""
    return min(count // 2, max(2 * len(CARELESS_PRODUCERS), count // CARELESS_SHARE))


def generate_stream(executions: Sequence[dict[str, Any]], count: int, random: Random) -> Iterator[Message]:
    """`count` records: first the executions as measured, then replays with new ids and times.

    The same seed gives the same careless producers at the same places.
    """
    careless = set(random.sample(range(count), count_careless(count)))
    producers = chain([build_oversized], cycle(CARELESS_PRODUCERS))
    events = chain(executions, (_replay(executions, number, random) for number in range(1, count)))
    for number in range(count):
        if number in careless:
            yield next(producers)(_replay(executions, number, random), random)
        else:
            yield build_message(next(events))


def _replay(executions: Sequence[dict[str, Any]], number: int, random: Random) -> dict[str, Any]:
    """A measured execution with a new id and later times."""
    event = executions[number % len(executions)]
    later = number * _STEP
    times = {name: event["metrics"][name] + later.total_seconds() for name in _TIMES}
    return event | {
        "execution_id": str(UUID(int=random.getrandbits(128), version=4)),
        "started_at": _shift(event["started_at"], later),
        "completed_at": _shift(event["completed_at"], later),
        "metrics": event["metrics"] | times,
    }


def _shift(instant: str, later: timedelta) -> str:
    moved = datetime.fromisoformat(instant) + later
    return moved.isoformat(timespec="milliseconds").replace("+00:00", "Z")
