"""Connections to ClickHouse that break in the ways connections break."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.checks import check_no_rebalance, check_resumes
from tests.chaos.environment import IN_FLIGHT_METRICS, LONG_RETRIES
from tests.chaos.scenario import Scenario
from tests.support.connection import Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.environment import Environment

_FAULTS = 12
_MOST_BYTES = 100_000
"""Of some inserts of this load."""
_ANSWER_BYTES = 500
"""Of the engine's answer to one: the layout of the table, then the end."""


def lose_answers(env: Environment) -> None:
    """Cut the connection when the engine has committed an insert and its answer is on the way."""
    proxy = env.engine_proxy

    def fault() -> None:
        before = proxy.cuts
        proxy.lose_answer_after(env.random.randrange(1, _MOST_BYTES))
        env.wait_until(lambda: proxy.cuts > before or not env.load.left, "an answer is lost")

    _again_and_again(env, fault)


def cut_connections(env: Environment) -> None:
    """Cut it anywhere: after some bytes in one direction or the other, in an answer, in a block, in between."""
    proxy = env.engine_proxy

    def fault() -> None:
        direction = env.random.choice((proxy.to_server, proxy.to_client, None))
        if direction is None:
            proxy.cut()
        else:
            direction.cut_after(env.random.randrange(1, _MOST_BYTES if direction is proxy.to_server else _ANSWER_BYTES))
        env.sleep_between(0.0, 1.0)

    _again_and_again(env, fault)
    env.check(proxy.cuts > 0, "no connection was cut")


def half_open(env: Environment) -> None:
    """One side of a connection is gone, and the other does not hear of it."""

    def fault() -> None:
        env.engine_proxy.half_open(env.random.choice(tuple(Side)))
        env.sleep_between(0.3, 1.0)

    _again_and_again(env, fault)


def black_hole(env: Environment) -> None:
    """Whoever is there accepts everything and never answers, longer than every time-out."""
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start()
        env.wait_until(lambda: env.count_rows() > 0, "the first rows")
        env.engine_proxy.silent = True
        env.wait_until(lambda: "store" in worker.process.readiness(), "the worker holds", timeout_seconds=60.0)
        env.sleep_between(env.outage_seconds / 2, env.outage_seconds)
        env.engine_proxy.silent = False
        check_resumes(env, worker)
    check_no_rebalance(env, worker)


def _again_and_again(env: Environment, fault: Callable[[], None]) -> None:
    """Do `fault` while records flow."""
    faults = 0
    env.workers.start()
    with env.load.send_in_background(per_second=env.events / _FAULTS):
        while env.load.left:
            fault()
            faults += 1
            env.sleep_between(0.0, 0.5)
    env.figures["faults"] = faults


SCENARIOS = (
    Scenario(
        "answer-lost",
        "The connection breaks between ClickHouse's commit and its answer; not even the table has a row twice.",
        lose_answers,
        environment=LONG_RETRIES,
        repeats=False,
        short=True,
    ),
    Scenario(
        "connection-cut",
        "Connections to ClickHouse cut after any number of bytes, in either direction.",
        cut_connections,
        environment=LONG_RETRIES,
        repeats=False,
    ),
    Scenario(
        "half-open",
        "Connections to ClickHouse of which only one side knows that they are gone.",
        half_open,
        environment=LONG_RETRIES,
    ),
    Scenario(
        "black-hole",
        "ClickHouse accepts and never answers, longer than every time-out.",
        black_hole,
        outage_letters=IN_FLIGHT_METRICS,
        short=True,
    ),
)
