"""Workers that come, go and stall, and the signals that end them."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.chaos.environment import SHORT_TIMES
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from tests.chaos.environment import Environment
    from tests.chaos.workers import Worker

_CHANGES = 8
_MOST_MEMBERS = 6
"""More than the topic has partitions."""
_SHUTDOWN_SECONDS = float(SHORT_TIMES["SHUTDOWN_TIMEOUT_SECONDS"])
_AT_ONCE_SECONDS = 1.5
_REPLICAS = 3
_SLOWLY = {"BATCH_MAX_EVENTS": "100"}
_WITHOUT_END = {"RETRY_ATTEMPTS": "1000", "RETRY_MAX_SECONDS": "600"}


def come_and_go(env: Environment) -> None:
    """Members join and leave the group under load, alone and several at once, up to more than there are partitions."""
    env.workers.start()
    with env.load.send_in_background(per_second=env.events / (3 * _CHANGES)):
        for _ in range(_CHANGES):
            members, more = _members(env), len(env.workers.running) < _MOST_MEMBERS
            if more and (len(members) < 2 or env.random.random() < 0.6):
                env.workers.start(ready=False)
            elif members:
                _leaves(env, env.random.choice(members))
            env.sleep_between(0.0, 3.0)
    env.figures["members at the end"] = len(env.workers.running)


def restart_one_by_one(env: Environment) -> None:
    """Three members; each in turn is ended and replaced under load, as a deployment does."""
    for _ in range(_REPLICAS):
        env.workers.start(ready=False)
    env.wait_until(lambda: not any(worker.process.readiness() for worker in env.workers.running), "all are ready")
    with env.load.send_in_background(per_second=env.events / 20):
        for worker in env.workers.running:
            _leaves(env, worker)
            env.workers.start()
    env.check(len(env.workers.running) == _REPLICAS, f"{len(env.workers.running)} members run")


def stall(env: Environment) -> None:
    """A member stops where it is, longer than its session, while another takes its partitions; then it wakes."""
    zombie, _ = env.workers.start(_SLOWLY), env.workers.start(_SLOWLY, ready=False)
    with env.load.send_in_background(per_second=env.events / 15):
        for _ in range(2):
            env.sleep_between(0.0, 2.0)
            env.workers.signal(zombie, signal.SIGSTOP)
            env.sleep_between(0.5, 6.0)
            env.workers.signal(zombie, signal.SIGCONT)
    env.wait_until(lambda: not zombie.process.readiness(), "the member that stalled is back", timeout_seconds=60.0)


def ask_to_stop(env: Environment) -> None:
    """SIGTERM in each state, in any order: it exits with 0 within SHUTDOWN_TIMEOUT_SECONDS."""
    states = list(_STATES.items())
    env.random.shuffle(states)
    slowest = 0.0
    for name, reach in states:
        worker = reach(env)
        took = env.workers.terminate(worker)
        slowest = max(slowest, took)
        env.check(worker.exit_code == 0, f"{name}: exit code {worker.exit_code} after SIGTERM")
        env.check(took <= _SHUTDOWN_SECONDS, f"{name}: it took {took:.1f} s to end")
        env.engine_proxy.unreachable = False
        for other in env.workers.running:
            env.wait_until(lambda other=other: not other.process.readiness(), "the other has joined")  # type: ignore[misc]
            env.workers.terminate(other)
        env.check_committed_so_far()
    env.figures["slowest stop s"] = round(slowest, 1)
    env.workers.start()


def ask_twice(env: Environment) -> None:
    """A second SIGTERM while the worker finishes what is under way ends it at once."""
    env.load.send(env.events // 2)
    worker = env.workers.start()
    env.wait_until(lambda: env.count_rows() > 0, "the first rows")
    env.engine_proxy.silent = True
    env.load.send_rest()
    env.wait_until(env.engine_proxy.held.is_set, "an insert waits for its answer")
    worker.end_expected = True
    env.workers.signal(worker, signal.SIGTERM)
    env.wait_until(lambda: bool(worker.log_lines("asked to stop")), "it has heard")
    env.check(worker.running, "it ended at the first signal; there was nothing to wait for")
    asked = time.monotonic()
    env.workers.signal(worker, signal.SIGTERM)
    env.wait_until(lambda: not worker.running, "it has ended")
    took = time.monotonic() - asked
    env.figures["ended after s"] = round(took, 2)
    env.check(took <= _AT_ONCE_SECONDS, f"it took {took:.1f} s to end after the second signal")
    env.engine_proxy.silent = False
    env.check_committed_so_far()
    env.workers.start()


def _members(env: Environment) -> list[Worker]:
    """The workers that have joined: Tansu is stuck for good when one leaves in the middle of its first JoinGroup."""
    return [worker for worker in env.workers.running if not worker.process.readiness()]


def _leaves(env: Environment, worker: Worker) -> None:
    took = env.workers.terminate(worker)
    env.check(worker.exit_code == 0, f"exit code {worker.exit_code} after SIGTERM")
    env.check(took <= _SHUTDOWN_SECONDS, f"it took {took:.1f} s to leave")


def _idle(env: Environment) -> Worker:
    worker = env.workers.start()
    env.wait_until_committed()
    return worker


def _in_mid_batch(env: Environment) -> Worker:
    env.load.send(env.events // len(_STATES))
    worker = env.workers.start(_SLOWLY)
    env.sleep_between(0.0, 0.3)
    return worker


def _retrying(env: Environment) -> Worker:
    worker = env.workers.start(_WITHOUT_END)
    env.engine_proxy.unreachable = True
    env.load.send(env.events // len(_STATES))
    before = env.engine_proxy.refused
    env.wait_until(lambda: env.engine_proxy.refused > before + 1, "it has tried more than once")
    return worker


def _holding(env: Environment) -> Worker:
    worker = env.workers.start({"ON_UNAVAILABLE": "hold", "RETRY_ATTEMPTS": "1"})
    env.engine_proxy.unreachable = True
    env.load.send(env.events // len(_STATES))
    env.wait_until(lambda: "store" in worker.process.readiness(), "it holds")
    return worker


def _rebalancing(env: Environment) -> Worker:
    first = env.workers.start(_SLOWLY)
    env.load.send(env.events // len(_STATES))
    env.workers.start(_SLOWLY, ready=False)
    env.sleep_between(0.0, 2.0)
    return first


_STATES = {
    "idle": _idle,
    "in mid-batch": _in_mid_batch,
    "retrying": _retrying,
    "holding": _holding,
    "rebalancing": _rebalancing,
}

SCENARIOS = (
    Scenario(
        "members-come-and-go",
        "Members join and leave under load, up to more of them than there are partitions.",
        come_and_go,
        events=20_000,
    ),
    Scenario(
        "rolling-restart",
        "Three members are replaced one by one under load.",
        restart_one_by_one,
    ),
    Scenario(
        "member-stalled",
        "A member is stopped (SIGSTOP), shorter and longer than its session, and wakes as a zombie.",
        stall,
    ),
    Scenario(
        "stop",
        "SIGTERM when idle, in mid-batch, retrying, holding and rebalancing: exit code 0 in time, nothing lost.",
        ask_to_stop,
        events=5_000,
        short=True,
    ),
    Scenario(
        "stop-twice",
        "A second SIGTERM while the first is being heeded: the end, at once, and nothing lost.",
        ask_twice,
        events=5_000,
    ),
)
