"""Workers that die, come, go and stall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from tests.chaos.environment import Environment

_EVENTS_A_KILL = 5_000
_LEAST_KILLS = 4
_LIFE_SECONDS = 0.4
_YOUNG_DEATHS = 0.1
_START_SECONDS = 2.0
_HALFWAY_AUDITS = 4


def kill_workers(env: Environment) -> None:
    """SIGKILL one worker after the other at random moments, most of them at work, some while they start."""
    kills = max(_LEAST_KILLS, env.events // _EVENTS_A_KILL)
    at_work = 0
    for number in range(kills):
        env.load.send(env.events // kills)
        if env.random.random() < _YOUNG_DEATHS:
            worker = env.workers.start_without_waiting()
            env.sleep_between(0.0, _START_SECONDS)
        else:
            worker = env.workers.start()
            env.sleep_between(0.0, _LIFE_SECONDS)
        env.check(worker.running, "the worker had ended before it was killed")
        env.workers.kill(worker)
        at_work += env.count_uncommitted() > 0
        if number % (kills // _HALFWAY_AUDITS) == 0:
            env.check_committed_so_far()
    env.figures |= {"kills": kills, "kills with records uncommitted": at_work}
    env.workers.start()


SCENARIOS = (
    Scenario(
        "worker-killed",
        "SIGKILL at random moments: while it starts, joins, reads, inserts, commits.",
        kill_workers,
        events=20_000,
        short=True,
    ),
)
