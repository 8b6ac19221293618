"""The days that are simulated, with the same load: little at night, most at noon, and a ripple."""

from __future__ import annotations

from math import cos, pi, sin
from typing import NamedTuple

DAY_SECONDS = 86_400
NIGHT, NOON = 15_000, 200_000
"""Events per second."""
_RIPPLE = 0.05
_RIPPLE_SECONDS = 17 * 60


class Scenario(NamedTuple):
    """A day, and what happens on it, in seconds of the day.

    Attributes:
        outage_begins, outage_ends: ClickHouse is away, and all workers hold.
        unread_from, unread_until: KEDA cannot read a trigger.
        deploy_at: a rollout begins.
    """

    title: str
    outage_begins: int = 0
    outage_ends: int = 0
    unread_from: int = 0
    unread_until: int = 0
    deploy_at: int | None = None

    @staticmethod
    def events_per_second(at: float) -> float:
        """What producers send."""
        shape = (1 - cos(2 * pi * at / DAY_SECONDS)) / 2
        ripple = 1 + _RIPPLE * sin(2 * pi * at / _RIPPLE_SECONDS)
        return (NIGHT + (NOON - NIGHT) * shape**2) * ripple


ORDINARY = Scenario("an ordinary day")
OUTAGE = Scenario("ClickHouse is away from 10 to 11", outage_begins=10 * 3600, outage_ends=11 * 3600)
DEPLOY = Scenario("a deploy at 12", deploy_at=12 * 3600)
UNREAD = Scenario("no trigger can be read from 12 to 18", unread_from=12 * 3600, unread_until=18 * 3600)
SHOWN = (ORDINARY, OUTAGE, DEPLOY)
