"""A Kafka that is away, hangs, or does not take dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.claims import keeps_membership, resumes
from tests.chaos.scenario import Scenario
from tests.chaos.stream import Mix

if TYPE_CHECKING:
    from tests.chaos.field import Field

_AWAY_SECONDS = (1.0, 8.0)
"""Shorter and longer than the session time-out of 2 s."""
_FAULTS = 3
_PRODUCE = b"\x00\x00"
"""The key of Kafka's Produce request; it follows the four bytes of the length."""


def take_broker_away(field: Field) -> None:
    """Kafka refuses, is a black hole, or hangs with its connections open; then it is back with all its records."""
    field.crew.start()
    for number in range(_FAULTS):
        field.load.send(field.events // _FAULTS)
        field.chance(0.0, 0.3)
        _FAULT[(number + field.random.randrange(len(_FAULT))) % len(_FAULT)](field)
        _everybody_is_back(field)


def _refuse(field: Field) -> None:
    field.broker_proxy.away = True
    field.chance(*_AWAY_SECONDS)
    field.broker_proxy.away = False


def _fall_silent(field: Field) -> None:
    field.broker_proxy.silent = True
    field.chance(*_AWAY_SECONDS)
    field.broker_proxy.silent = False


def _hang(field: Field) -> None:
    field.stack.broker.process.pause()
    field.chance(*_AWAY_SECONDS)
    field.stack.broker.process.resume()


_FAULT = (_refuse, _fall_silent, _hang)


def _everybody_is_back(field: Field) -> None:
    seconds = field.wait(
        lambda: all(not member.process.readiness() for member in field.crew.running),
        "every worker is ready again",
        timeout_seconds=90.0,
    )
    field.notes["ready after s"] = max(field.notes.get("ready after s", 0.0), round(seconds, 1))


def refuse_dead_letters(field: Field) -> None:
    """Nothing that is produced is acknowledged, while reading, heartbeats and commits go on as ever."""
    field.load.send_rest()
    field.broker_proxy.swallow = lambda request: request[4:6] == _PRODUCE
    member = field.crew.start(ready=False)
    field.wait(lambda: "dead_letters" in member.process.readiness(), "the worker holds and says why")
    held_at = field.committed()
    field.chance(field.outage_seconds / 2, field.outage_seconds)
    field.check(field.committed() == held_at, "something was committed while dead letters were not acknowledged")
    field.check("dead_letters" in member.process.readiness(), "the reason at /readyz has gone")
    field.broker_proxy.swallow = None
    resumes(field, member)
    keeps_membership(field, member)


SCENARIOS = (
    Scenario(
        "broker-away",
        "Kafka refuses connections, is a black hole, or hangs: three times, shorter and longer than a session.",
        take_broker_away,
        broker_proxied=True,
    ),
    Scenario(
        "dead-letters-away",
        "The dead-letter topic does not acknowledge, and there is poison: nothing is committed until it does.",
        refuse_dead_letters,
        events=2_000,
        mix=Mix(careless=0.01, poison=0.05),
        broker_proxied=True,
        short=True,
    ),
)
