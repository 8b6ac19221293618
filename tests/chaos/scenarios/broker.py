"""A Kafka that is unreachable, hangs, or does not acknowledge or refuses dead letters."""

import asyncio
from collections.abc import Callable
from functools import partial

from tests.chaos.checks import check_no_rebalance, check_resumes
from tests.chaos.environment import Environment
from tests.chaos.events import EventMix
from tests.chaos.scenario import scenario
from tests.support.topic import configure

_Fault = tuple[Callable[[], object], Callable[[], object]]
"""Its cause and its repair."""
_OUTAGE_SECONDS = (1.0, 8.0)
"""Shorter and longer than the session time-out of 2 s."""
_PRODUCE = b"\x00\x00"
"""The key of Kafka's Produce request; it follows the four bytes of the length."""


_NARROW_BYTES = 20_000
"""Half of a file of `EventMix.files`, and less than a batch of the worker's producer."""
_REFUSE_ALL = {"message.timestamp.before.max.ms": "0"}
"""A record is older than that when it arrives: INVALID_TIMESTAMP, which no client sends again."""


@scenario("broker-away", broker_proxied=True)
def interrupt_broker(env: Environment) -> None:
    """Kafka refuses connections, is a black hole, or hangs: three times, shorter and longer than a session."""
    proxy, broker = env.broker_proxy, env.stack.broker.process
    faults: list[_Fault] = [
        (partial(setattr, proxy, "unreachable", True), partial(setattr, proxy, "unreachable", False)),
        (partial(setattr, proxy, "silent", True), partial(setattr, proxy, "silent", False)),
        (broker.pause, broker.resume),
    ]
    env.workers.start()
    for cause, repair in env.random.sample(faults, len(faults)):
        env.load.send(env.events // len(faults))
        env.sleep_between(0.0, 0.3)
        cause()
        env.sleep_between(*_OUTAGE_SECONDS)
        repair()
        seconds = env.wait_until(
            lambda: all(not worker.readiness() for worker in env.workers.running),
            "every worker is ready again",
            timeout_seconds=90.0,
        )
        env.figures["ready after s"] = max(env.figures.get("ready after s", 0.0), round(seconds, 1))


@scenario("dead-letters-away", events=2_000, mix=EventMix(refused=0.05), broker_proxied=True, short=True)
def refuse_dead_letters(env: Environment) -> None:
    """The dead-letter topic does not acknowledge, and there are invalid rows: nothing is committed until it does."""
    env.load.send_rest()
    env.broker_proxy.swallow = lambda request: request[4:6] == _PRODUCE
    worker = env.workers.start(ready=False)
    env.wait_until(lambda: "dead_letters" in worker.readiness(), "the worker holds, and /readyz has the reason")
    held_at = env.committed_offsets()
    env.sleep_between(env.outage_seconds / 2, env.outage_seconds)
    env.check(env.committed_offsets() == held_at, "an offset was committed while dead letters were not acknowledged")
    env.check("dead_letters" in worker.readiness(), "/readyz has the reason no longer")
    env.broker_proxy.swallow = None
    check_resumes(env, worker)
    check_no_rebalance(env, worker)


@scenario(
    "dead-letters-refused",
    events=4_000,
    mix=EventMix(refused=0.05, files=0.01),
    apache_kafka=True,
    pointer_bytes=_NARROW_BYTES,
)
def narrow_dead_letters(env: Environment) -> None:
    """The dead-letter topic refuses every record for a while, later only large ones; then the worker is killed."""
    servers, dlq_topic = env.stack.broker.bootstrap_servers, env.stack.dlq_topic
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start()
        env.wait_until(lambda: env.count_rows() > 0, "the first rows")
        asyncio.run(configure(servers, dlq_topic, _REFUSE_ALL))
        env.wait_until(lambda: "dead_letters" in worker.readiness(), "the worker holds, and /readyz has the reason")
        held_at = env.committed_offsets()
        env.sleep_between(env.outage_seconds / 4, env.outage_seconds / 2)
        env.check(env.committed_offsets() == held_at, "an offset was committed while dead letters were refused")
        asyncio.run(configure(servers, dlq_topic, {"max.message.bytes": str(_NARROW_BYTES)}))
        check_resumes(env, worker)
        check_no_rebalance(env, worker)
    env.load.send(env.load.left // 2)
    env.wait_until_committed()
    worker.kill()
    env.load.send_rest()
    env.workers.start()
