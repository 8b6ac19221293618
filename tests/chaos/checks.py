"""Checks that several scenarios make, and the outage that several scenarios are made of."""

import time
from collections.abc import Callable

from tests.chaos.environment import SHORT_TIMES, Environment
from tests.chaos.workers import Worker

_PROBE_SECONDS = 15.0
"""Longest wait between two probes of an unavailable store: `worker.core.retry.FOREVER`."""
_GRACE_SECONDS = 5.0
"""On a busy machine: to connect, and for the first insert after the probe."""
_INSERTS_AFTER_START = 10
"""More than must succeed in a row before an outage makes dead letters (`CircuitBreaker`), since some do not."""
_SHUTDOWN_SECONDS = float(SHORT_TIMES["SHUTDOWN_TIMEOUT_SECONDS"])


def interrupt_store(
    env: Environment, cause: Callable[[], object], repair: Callable[[], object], reason: str = ""
) -> Worker:
    """Break the store under load for `env.outage_seconds`. The worker must hold, and then resume without a rebalance.

    Args:
        env: of the scenario.
        cause, repair: break and repair the store.
        reason: what /readyz must say of the store meanwhile.
    """

    def is_holding() -> bool:
        reasons = worker.readiness()
        return "store" in reasons and reason in reasons["store"]

    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start()
        env.wait_until(lambda: worker.count_inserts("written") > _INSERTS_AFTER_START, "the first INSERTs")
        cause()
        env.wait_until(is_holding, f"the worker holds {reason}", timeout_seconds=60.0)
        time.sleep(env.outage_seconds)
        env.check(is_holding(), f"/readyz says {worker.readiness()} at the end of the outage")
        repair()
        check_resumes(env, worker)
    check_no_rebalance(env, worker)
    return worker


def check_resumes(env: Environment, worker: Worker) -> None:
    """The fault is repaired: the worker must become ready by itself, within the longest wait between two probes."""
    seconds = env.wait_until(lambda: not worker.readiness(), "the worker is ready again", timeout_seconds=60.0)
    env.figures["resumed after s"] = round(seconds, 1)
    limit = _PROBE_SECONDS + _GRACE_SECONDS
    env.check(seconds <= limit, f"it resumed {seconds:.1f} s after the repair; {limit:g} are allowed")


def check_no_rebalance(env: Environment, worker: Worker) -> None:
    """The worker must have stayed a member of its group."""
    lost = worker.telemetry()["metrics_worker_rebalances_total"][()]
    env.check(lost == 0, f"the group revoked the partitions {lost:g} times")


def check_terminates(env: Environment, worker: Worker, state: str) -> float:
    """SIGTERM: the worker must exit with 0 within its shutdown timeout. Returns the seconds that it took."""
    took = worker.terminate()
    env.check(worker.exit_code == 0, f"{state}: exit code {worker.exit_code} after SIGTERM")
    env.check(took <= _SHUTDOWN_SECONDS, f"{state}: it took {took:.1f} s to end")
    return took
