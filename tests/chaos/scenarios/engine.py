"""A ClickHouse that dies, is slow, fails at random, or is not there when workers start."""

import time

from deploy.local.demo.table import TABLE
from tests.chaos.checks import check_no_rebalance, check_resumes
from tests.chaos.environment import IN_FLIGHT_METRICS, LONG_RETRIES, POLL_SECONDS, Environment
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import scenario
from tests.chaos.workers import Worker

_KILLS = 3
_STARTS = 3
_INSERTED_BYTES = 300_000
"""What one or two seconds of the load send to the engine."""
_SLOW_CONSTRAINTS = 2
"""A statement may sleep for three seconds at most in each call of `sleep`, so that five seconds need two."""


@scenario("engine-killed", events=20_000, environment={"BATCH_MAX_EVENTS": "2000", **LONG_RETRIES}, short=True)
def kill_engine(env: Environment) -> None:
    """SIGKILL for ClickHouse while it inserts, three times, and a restart on its data."""
    sending = env.engine_proxy.to_server
    worker = env.workers.start()
    with env.load.send_in_background(per_second=env.events / (5 * _KILLS)):
        for _ in range(_KILLS):
            until = sending.passed + env.random.randrange(1, _INSERTED_BYTES)
            env.wait_until(lambda: sending.passed >= until, "an insert", poll_seconds=0.001)  # noqa: B023 - called at once
            env.stack.engine.kill()
            env.sleep_between(0.0, 1.0)
            env.stack.engine.start()
    env.figures |= {"kills of the engine": _KILLS, "inserts without an answer": worker.count_inserts("unavailable")}


@scenario(
    "engine-slow",
    events=2_000,
    mix=VALID_ONLY,
    environment={"CLICKHOUSE_TIMEOUT_SECONDS": "12", "KAFKA_REBALANCE_TIMEOUT_SECONDS": "20"},
)
def slow_engine_down(env: Environment) -> None:
    """Each insert takes 5 seconds, longer than the group's session time-out."""
    for number in range(_SLOW_CONSTRAINTS):
        env.run_sql(f"ALTER TABLE {TABLE} ADD CONSTRAINT slow_{number} CHECK sleep(2.5) = 0")
    env.load.send_rest()
    worker = env.workers.start()
    env.wait_until_committed()
    telemetry = worker.telemetry()
    spent, count = (sum(telemetry[f"metrics_worker_insert_seconds_{name}"].values()) for name in ("sum", "count"))
    env.figures["seconds an insert"] = round(spent / count, 2)
    env.check(spent / count >= 5, f"an insert took only {spent / count:.1f} s")
    check_no_rebalance(env, worker)
    for number in range(_SLOW_CONSTRAINTS):
        env.run_sql(f"ALTER TABLE {TABLE} DROP CONSTRAINT slow_{number}")


@scenario("start-while-away", events=5_000, short=True)
def start_during_outage(env: Environment) -> None:
    """Workers start, and are killed, while ClickHouse is away and every record waits: not one dead letter of it."""
    env.stack.engine.kill()
    env.load.send_rest()
    for _ in range(_STARTS):
        worker = _start_held(env)
        env.sleep_between(0.5, 3.0)
        env.check("store" in worker.readiness(), "the worker is ready while ClickHouse is down")
        worker.kill()
    worker = _start_held(env)
    polls = 0
    until = time.monotonic() + env.outage_seconds
    while time.monotonic() < until:
        env.check("store" in worker.readiness(), "the worker is ready while ClickHouse is down")
        polls += 1
        time.sleep(POLL_SECONDS)
    env.check(not any(env.committed_offsets().values()), "an offset was committed while ClickHouse was down")
    env.figures |= {"starts during the outage": _STARTS + 1, "polls of /readyz": polls}
    env.stack.engine.start()
    check_resumes(env, worker)


def _start_held(env: Environment) -> Worker:
    """Start a worker, which is not ready from the beginning, and soon says that ClickHouse is the reason."""
    worker = env.workers.start(ready=False)
    env.check(worker.readiness() != {}, "the worker is ready before it has asked ClickHouse")
    env.wait_until(lambda: "store" in worker.readiness(), "the worker holds")
    return worker


@scenario("flaky-store", outage_letters=IN_FLIGHT_METRICS, environment={"BATCH_MAX_EVENTS": "50"}, short=True)
def fail_inserts_at_random(env: Environment) -> None:
    """Half of all inserts fail with an unclassified code, at random: no valid row is refused."""
    # The condition depends on the time alone, so that all rows of an insert fail together.
    is_odd = "intDiv(toUnixTimestamp64Milli(now64(3)), 7) % 2"
    env.run_sql(f"ALTER TABLE {TABLE} ADD CONSTRAINT flaky CHECK bitTest(1, if({is_odd}, 100, 1)) >= 0")
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start(ready=False)
        time.sleep(env.outage_seconds)
    env.run_sql(f"ALTER TABLE {TABLE} DROP CONSTRAINT flaky")
    check_resumes(env, worker)
    failed = worker.count_inserts("unclassified")
    env.figures["inserts that failed without a class"] = failed
    env.check(failed > 10, f"only {failed:g} inserts failed")
