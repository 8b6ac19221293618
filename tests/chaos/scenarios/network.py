"""Connections to ClickHouse that break in the ways connections break."""

from collections.abc import Callable

from tests.chaos.environment import LONG_RETRIES, Environment
from tests.chaos.events import EventMix
from tests.chaos.scenario import scenario
from tests.chaos.workers import Worker
from tests.support.connection import Side

_FAULTS = 12
_REQUEST_BYTES = 100_000
"""About the size of some inserts of this load."""
_ANSWER_BYTES = 500
"""About the size of the engine's answer to an insert: the columns of the table, and the end."""


@scenario("answer-lost", environment=LONG_RETRIES, repeats=False, short=True)
def lose_answers(env: Environment) -> None:
    """The connection breaks between ClickHouse's commit and its answer; not even the table has a row twice."""
    _lose_answers(env)


def _lose_answers(env: Environment) -> Worker:
    proxy = env.engine_proxy

    def cause_fault() -> None:
        before = proxy.cuts
        proxy.lose_answer_after(env.random.randrange(1, _REQUEST_BYTES))
        env.wait_until(lambda: proxy.cuts > before or not env.load.left, "an answer is lost")

    return _repeat_under_load(env, cause_fault)


@scenario("months-answer-lost", mix=EventMix(random_times=0.3), environment=LONG_RETRIES, repeats=False)
def lose_answers_of_several_months(env: Environment) -> None:
    """The same while a third of the events are of any time of the year before, so that INSERTs have many months."""
    telemetry = _lose_answers(env).telemetry()
    batches, inserts = (
        sum(telemetry[f"metrics_worker_{name}"].values()) for name in ("batch_events_count", "inserts_total")
    )
    env.figures["inserts per batch"] = round(inserts / batches, 1)
    env.check(inserts <= 4 * batches, f"{inserts:g} INSERTs for {batches:g} batches")


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


def _repeat_under_load(env: Environment, cause_fault: Callable[[], None]) -> Worker:
    faults = 0
    worker = env.workers.start()
    with env.load.send_in_background(per_second=env.events / _FAULTS):
        while env.load.left:
            cause_fault()
            faults += 1
            env.sleep_between(0.0, 0.5)
    env.figures["faults"] = faults
    return worker
