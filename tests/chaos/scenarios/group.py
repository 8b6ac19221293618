"""Workers that join, leave and stall, and the signals that end them."""

import signal
import time

from tests.chaos.checks import check_terminates
from tests.chaos.environment import Environment
from tests.chaos.scenario import scenario
from tests.chaos.workers import Worker

_CHANGES = 8
_MOST_WORKERS = 6
"""More than the topic has partitions."""
_KILL_SECONDS = 1.5
_REPLICAS = 3
_SMALL_BATCHES = {"BATCH_MAX_EVENTS": "100"}
_ENDLESS_RETRIES = {"RETRY_ATTEMPTS": "1000", "RETRY_MAX_SECONDS": "600"}


@scenario("members-come-and-go", events=20_000)
def join_and_leave(env: Environment) -> None:
    """Members join and leave under load, up to more of them than there are partitions."""
    env.workers.start()
    with env.load.send_in_background(per_second=env.events / (3 * _CHANGES)):
        for _ in range(_CHANGES):
            # Only of those that have joined: Tansu's group is stuck when one leaves during its first JoinGroup.
            ready = [worker for worker in env.workers.running if not worker.readiness()]
            more = len(env.workers.running) < _MOST_WORKERS
            if more and (len(ready) < 2 or env.random.random() < 0.6):
                env.workers.start(ready=False)
            elif ready:
                check_terminates(env, env.random.choice(ready), "under load")
            env.sleep_between(0.0, 3.0)
    env.figures["members at the end"] = len(env.workers.running)


@scenario("rolling-restart")
def restart_one_by_one(env: Environment) -> None:
    """Three members are replaced one by one under load."""
    for _ in range(_REPLICAS):
        env.workers.start(ready=False)
    env.wait_until(lambda: not any(worker.readiness() for worker in env.workers.running), "all are ready")
    with env.load.send_in_background(per_second=env.events / 20):
        for worker in env.workers.running:
            check_terminates(env, worker, "under load")
            env.workers.start()
    env.check(len(env.workers.running) == _REPLICAS, f"{len(env.workers.running)} workers run")


@scenario("member-stalled")
def stall(env: Environment) -> None:
    """A member is stopped (SIGSTOP), shorter and longer than its session, and continues as a zombie."""
    zombie, _ = env.workers.start(_SMALL_BATCHES), env.workers.start(_SMALL_BATCHES, ready=False)
    with env.load.send_in_background(per_second=env.events / 15):
        for _ in range(2):
            env.sleep_between(0.0, 2.0)
            zombie.send_signal(signal.SIGSTOP)
            env.sleep_between(0.5, 6.0)
            zombie.send_signal(signal.SIGCONT)
    env.wait_until(lambda: not zombie.readiness(), "the worker that stalled is ready again", timeout_seconds=60.0)


@scenario("stop", events=5_000, short=True)
def stop_in_each_state(env: Environment) -> None:
    """SIGTERM when idle, in mid-batch, retrying, holding and rebalancing: exit code 0 in time, nothing lost."""
    states = list(_STATES.items())
    env.random.shuffle(states)
    slowest = 0.0
    for name, reach in states:
        slowest = max(slowest, check_terminates(env, reach(env), name))
        env.engine_proxy.unreachable = False
        for other in env.workers.running:
            env.wait_until(lambda other=other: not other.readiness(), "the other has joined")  # type: ignore[misc]
            other.terminate()
        env.check_committed_so_far()
    env.figures["slowest stop s"] = round(slowest, 1)
    env.workers.start()


@scenario("stop-twice", events=5_000)
def stop_twice(env: Environment) -> None:
    """A second SIGTERM while the worker finishes its batch: it ends at once, and nothing is lost."""
    env.load.send(env.events // 2)
    worker = env.workers.start()
    env.wait_until(lambda: env.count_rows() > 0, "the first rows")
    env.engine_proxy.silent = True
    env.load.send_rest()
    env.wait_until(env.engine_proxy.held.is_set, "an insert waits for its answer")
    worker.end_expected = True
    worker.send_signal(signal.SIGTERM)
    env.wait_until(lambda: bool(worker.log_lines("stop requested")), "the worker has received the signal")
    env.check(worker.running, "it ended at the first signal; no insert was in flight")
    asked = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    env.wait_until(lambda: not worker.running, "the worker has ended")
    took = time.monotonic() - asked
    env.figures["ended after s"] = round(took, 2)
    env.check(took <= _KILL_SECONDS, f"it took {took:.1f} s to end after the second signal")
    env.engine_proxy.silent = False
    env.check_committed_so_far()
    env.workers.start()


def _reach_idle(env: Environment) -> Worker:
    worker = env.workers.start()
    env.wait_until_committed()
    return worker


def _reach_mid_batch(env: Environment) -> Worker:
    env.load.send(env.events // len(_STATES))
    worker = env.workers.start(_SMALL_BATCHES)
    env.sleep_between(0.0, 0.3)
    return worker


def _reach_retrying(env: Environment) -> Worker:
    worker = env.workers.start(_ENDLESS_RETRIES)
    env.engine_proxy.unreachable = True
    env.load.send(env.events // len(_STATES))
    before = env.engine_proxy.refused
    env.wait_until(lambda: env.engine_proxy.refused > before + 1, "the worker has retried")
    return worker


def _reach_holding(env: Environment) -> Worker:
    worker = env.workers.start({"ON_UNAVAILABLE": "hold", "RETRY_ATTEMPTS": "1"})
    env.engine_proxy.unreachable = True
    env.load.send(env.events // len(_STATES))
    env.wait_until(lambda: "store" in worker.readiness(), "the worker holds")
    return worker


def _reach_rebalancing(env: Environment) -> Worker:
    first = env.workers.start(_SMALL_BATCHES)
    env.load.send(env.events // len(_STATES))
    env.workers.start(_SMALL_BATCHES, ready=False)
    env.sleep_between(0.0, 2.0)
    return first


_STATES = {
    "idle": _reach_idle,
    "in mid-batch": _reach_mid_batch,
    "retrying": _reach_retrying,
    "holding": _reach_holding,
    "rebalancing": _reach_rebalancing,
}
