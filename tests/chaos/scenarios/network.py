"""Connections to ClickHouse that break in the ways connections break."""

from collections.abc import Callable

from tests.chaos.environment import LONG_RETRIES, Environment
from tests.chaos.scenario import scenario
from tests.support.connection import Side

_FAULTS = 12
_REQUEST_BYTES = 100_000
"""About the size of some inserts of this load."""
_ANSWER_BYTES = 500
"""About the size of the engine's answer to an insert: the columns of the table, and the end."""


@scenario("answer-lost", environment=LONG_RETRIES, repeats=False, short=True)
def lose_answers(env: Environment) -> None:
    """The connection breaks between ClickHouse's commit and its answer; not even the table has a row twice."""
    proxy = env.engine_proxy

    def cause_fault() -> None:
        before = proxy.cuts
        proxy.lose_answer_after(env.random.randrange(1, _REQUEST_BYTES))
        env.wait_until(lambda: proxy.cuts > before or not env.load.left, "an answer is lost")

    _repeat_under_load(env, cause_fault)


@scenario("connection-cut", environment=LONG_RETRIES, repeats=False)
def cut_connections(env: Environment) -> None:
    """Connections to ClickHouse cut after any number of bytes, in either direction."""
    proxy = env.engine_proxy

    def cause_fault() -> None:
        direction = env.random.choice((proxy.to_server, proxy.to_client, None))
        if direction is None:
            proxy.cut()
        else:
            most = _REQUEST_BYTES if direction is proxy.to_server else _ANSWER_BYTES
            direction.cut_after(env.random.randrange(1, most))
        env.sleep_between(0.0, 1.0)

    _repeat_under_load(env, cause_fault)
    env.check(proxy.cuts > 0, "no connection was cut")


@scenario("half-open", environment=LONG_RETRIES)
def half_open(env: Environment) -> None:
    """Connections to ClickHouse of which only one side knows that they are closed."""

    def cause_fault() -> None:
        env.engine_proxy.half_open(env.random.choice(tuple(Side)))
        env.sleep_between(0.3, 1.0)

    _repeat_under_load(env, cause_fault)


def _repeat_under_load(env: Environment, cause_fault: Callable[[], None]) -> None:
    faults = 0
    env.workers.start()
    with env.load.send_in_background(per_second=env.events / _FAULTS):
        while env.load.left:
            cause_fault()
            faults += 1
            env.sleep_between(0.0, 0.5)
    env.figures["faults"] = faults
