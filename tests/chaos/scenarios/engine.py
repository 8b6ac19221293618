"""A ClickHouse that dies, is away, is slow, or takes no more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploy.local.demo.table import TABLE
from tests.chaos.checks import check_no_rebalance, check_resumes
from tests.chaos.environment import IN_FLIGHT_METRICS, LONG_RETRIES, POLL_SECONDS
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.environment import Environment
    from tests.support.connection import Direction

_KILLS = 3
_INSERTED_BYTES = 300_000
"""What a second or two of the load become."""


def kill_engine(env: Environment) -> None:
    """SIGKILL the engine while the bytes of an insert are on their way to it, and start it again on its data."""
    sending = env.engine_proxy.to_server
    worker = env.workers.start()
    with env.load.send_in_background(per_second=env.events / (5 * _KILLS)):
        for _ in range(_KILLS):
            env.wait_until(_passes(sending, env.random.randrange(1, _INSERTED_BYTES)), "an insert", poll_seconds=0.001)
            env.stack.engine.kill()
            env.sleep_between(0.0, 1.0)
            env.stack.engine.start()
    inserts = worker.process.telemetry()["metrics_worker_inserts_total"]
    cut_off = sum(count for labels, count in inserts.items() if "unavailable" in labels)
    env.figures |= {"kills of the engine": _KILLS, "inserts without an answer": cut_off}


def _passes(direction: Direction, more: int) -> Callable[[], bool]:
    until = direction.passed + more
    return lambda: direction.passed >= until


def take_engine_away(env: Environment) -> None:
    """Kill the engine under load, for a time that is long beside the retry budget, and bring it back."""
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start()
        env.wait_until(lambda: env.count_rows() > 0, "the first rows")
        env.stack.engine.kill()
        env.wait_until(lambda: "store" in worker.process.readiness(), "the worker holds")
        env.sleep_between(env.outage_seconds, env.outage_seconds)
        env.check("store" in worker.process.readiness(), "the worker does not say at /readyz that it holds")
        env.stack.engine.start()
        check_resumes(env, worker)
    check_no_rebalance(env, worker)


def forbid_parts(env: Environment) -> None:
    """Let the table refuse inserts with "too many parts", longer than the retry budget, and then take them again."""
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start()
        env.wait_until(lambda: env.count_rows() > 0, "the first rows")
        _limit_parts(env, 1)
        env.wait_until(lambda: "TOO_MANY_PARTS" in worker.process.readiness().get("store", ""), "it holds and says why")
        env.sleep_between(env.outage_seconds, env.outage_seconds)
        _limit_parts(env, 100_000)
        check_resumes(env, worker)
    check_no_rebalance(env, worker)


def _limit_parts(env: Environment, parts: int) -> None:
    setting = f"parts_to_delay_insert = {parts}, parts_to_throw_insert = {parts}"
    env.run_sql(f"ALTER TABLE {TABLE} MODIFY SETTING {setting}")


def slow_engine_down(env: Environment) -> None:
    """Let each insert take five seconds in the engine; the group must not notice."""
    # A statement may sleep three seconds at most for each call of the function.
    for number in (1, 2):
        env.run_sql(f"ALTER TABLE {TABLE} ADD CONSTRAINT slow_{number} CHECK sleep(2.5) = 0")
    env.load.send_rest()
    worker = env.workers.start()
    env.wait_until_committed()
    sums = {name: sum(worker.process.telemetry()[f"metrics_worker_insert_seconds_{name}"].values()) for name in _MEAN}
    mean = sums["sum"] / sums["count"]
    env.figures["seconds an insert"] = round(mean, 2)
    env.check(mean >= 5, f"an insert took only {mean:.1f} s")
    check_no_rebalance(env, worker)
    for number in (1, 2):
        env.run_sql(f"ALTER TABLE {TABLE} DROP CONSTRAINT slow_{number}")


_MEAN = ("sum", "count")


def start_while_away(env: Environment) -> None:
    """Start workers, and kill them, while ClickHouse is away and every record waits; then bring it back."""
    env.stack.engine.kill()
    env.load.send_rest()
    for _ in range(_STARTS):
        worker = env.workers.start(ready=False)
        env.wait_until(lambda: "store" in worker.process.readiness(), "the worker holds")  # noqa: B023 - called at once
        env.sleep_between(0.5, 3.0)
        env.check("store" in worker.process.readiness(), "the worker is ready while ClickHouse is away")
        env.workers.kill(worker)
    worker = env.workers.start(ready=False)
    looks = 0
    until = time.monotonic() + env.outage_seconds
    while time.monotonic() < until:
        env.check("store" in worker.process.readiness(), "the worker is ready while ClickHouse is away")
        looks += 1
        time.sleep(POLL_SECONDS)
    env.check(not any(env.committed_offsets().values()), "something was committed while ClickHouse was away")
    env.figures |= {"starts during the outage": _STARTS + 1, "looks at /readyz": looks}
    env.stack.engine.start()
    check_resumes(env, worker)


_STARTS = 3


def flaky_store(env: Environment) -> None:
    """Let half of all inserts fail at random with a code that has no class, and then none."""
    # Inserts of the same seven milliseconds fail together; nothing in a row decides.
    odd = "intDiv(toUnixTimestamp64Milli(now64(3)), 7) % 2"
    env.run_sql(f"ALTER TABLE {TABLE} ADD CONSTRAINT flaky CHECK bitTest(1, if({odd}, 100, 1)) >= 0")
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start(ready=False)
        env.sleep_between(env.outage_seconds, env.outage_seconds)
    env.run_sql(f"ALTER TABLE {TABLE} DROP CONSTRAINT flaky")
    check_resumes(env, worker)
    inserts = worker.process.telemetry()["metrics_worker_inserts_total"]
    failed = sum(count for labels, count in inserts.items() if "unclassified" in labels)
    env.figures["inserts that failed without a class"] = failed
    env.check(failed > 10, f"only {failed:g} inserts failed")


SCENARIOS = (
    Scenario(
        "engine-killed",
        "SIGKILL for ClickHouse while it inserts, three times, and a restart on its data.",
        kill_engine,
        events=20_000,
        environment={"BATCH_MAX_EVENTS": "2000", **LONG_RETRIES},
        short=True,
    ),
    Scenario(
        "engine-away",
        "ClickHouse away under load for --outage seconds, ON_UNAVAILABLE=dead_letter.",
        take_engine_away,
        outage_letters=IN_FLIGHT_METRICS,
        short=True,
    ),
    Scenario(
        "engine-away-hold",
        "The same with ON_UNAVAILABLE=hold: not one dead letter.",
        take_engine_away,
        environment={"ON_UNAVAILABLE": "hold"},
    ),
    Scenario(
        "too-many-parts",
        "ClickHouse refuses inserts with code 252 for --outage seconds.",
        forbid_parts,
        outage_letters=IN_FLIGHT_METRICS,
    ),
    Scenario(
        "start-while-away",
        "Workers start, and are killed, while ClickHouse is away and every record waits: not one dead letter of it.",
        start_while_away,
        events=5_000,
        short=True,
    ),
    Scenario(
        "flaky-store",
        "Half of all inserts fail with an unclassified code, at random: no valid row is refused.",
        flaky_store,
        outage_letters=IN_FLIGHT_METRICS,
        environment={"BATCH_MAX_EVENTS": "50"},
        short=True,
    ),
    Scenario(
        "engine-slow",
        "Each insert takes 5 seconds, longer than the group's session time-out.",
        slow_engine_down,
        events=2_000,
        mix=VALID_ONLY,
        environment={"CLICKHOUSE_TIMEOUT_SECONDS": "12", "KAFKA_REBALANCE_TIMEOUT_SECONDS": "20"},
    ),
)
