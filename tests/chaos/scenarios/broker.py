"""A Kafka that is away, hangs, or does not take dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.checks import check_no_rebalance, check_resumes
from tests.chaos.events import EventMix
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from tests.chaos.environment import Environment

_AWAY_SECONDS = (1.0, 8.0)
"""Shorter and longer than the session time-out of 2 s."""
_FAULTS = 3
_PRODUCE = b"\x00\x00"
"""The key of Kafka's Produce request; it follows the four bytes of the length."""


def take_broker_away(env: Environment) -> None:
    """Kafka refuses, is a black hole, or hangs with its connections open; then it is back with all its records."""
    env.workers.start()
    for number in range(_FAULTS):
        env.load.send(env.events // _FAULTS)
        env.sleep_between(0.0, 0.3)
        _FAULT[(number + env.random.randrange(len(_FAULT))) % len(_FAULT)](env)
        _everybody_is_back(env)


def _refuse(env: Environment) -> None:
    env.broker_proxy.unreachable = True
    env.sleep_between(*_AWAY_SECONDS)
    env.broker_proxy.unreachable = False


def _fall_silent(env: Environment) -> None:
    env.broker_proxy.silent = True
    env.sleep_between(*_AWAY_SECONDS)
    env.broker_proxy.silent = False


def _hang(env: Environment) -> None:
    env.stack.broker.process.pause()
    env.sleep_between(*_AWAY_SECONDS)
    env.stack.broker.process.resume()


_FAULT = (_refuse, _fall_silent, _hang)


def _everybody_is_back(env: Environment) -> None:
    seconds = env.wait_until(
        lambda: all(not worker.process.readiness() for worker in env.workers.running),
        "every worker is ready again",
        timeout_seconds=90.0,
    )
    env.figures["ready after s"] = max(env.figures.get("ready after s", 0.0), round(seconds, 1))


def refuse_dead_letters(env: Environment) -> None:
    """Nothing that is produced is acknowledged, while reading, heartbeats and commits go on as ever."""
    env.load.send_rest()
    env.broker_proxy.swallow = lambda request: request[4:6] == _PRODUCE
    worker = env.workers.start(ready=False)
    env.wait_until(lambda: "dead_letters" in worker.process.readiness(), "the worker holds and says why")
    held_at = env.committed_offsets()
    env.sleep_between(env.outage_seconds / 2, env.outage_seconds)
    env.check(env.committed_offsets() == held_at, "something was committed while dead letters were not acknowledged")
    env.check("dead_letters" in worker.process.readiness(), "the reason at /readyz has gone")
    env.broker_proxy.swallow = None
    check_resumes(env, worker)
    check_no_rebalance(env, worker)


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
        mix=EventMix(careless=0.01, poison=0.05),
        broker_proxied=True,
        short=True,
    ),
)
