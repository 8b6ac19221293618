"""Workers that are killed."""

from tests.chaos.environment import Environment
from tests.chaos.scenario import scenario

_EVENTS_PER_KILL = 5_000
_LEAST_KILLS = 4
_WORKING_SECONDS = 0.4
_SHARE_DURING_START = 0.1
_START_SECONDS = 2.0
_CHECKS_HALFWAY = 4


@scenario("worker-killed", events=20_000, short=True)
def kill_workers(env: Environment) -> None:
    """SIGKILL at random moments: while it starts, joins, reads, inserts, commits."""
    kills = max(_LEAST_KILLS, env.events // _EVENTS_PER_KILL)
    at_work = 0
    for number in range(kills):
        env.load.send(env.events // kills)
        if env.random.random() < _SHARE_DURING_START:
            worker = env.workers.create({})
            worker.process.start(lambda _: True)  # it is still importing its modules
            env.sleep_between(0.0, _START_SECONDS)
        else:
            worker = env.workers.start()
            env.sleep_between(0.0, _WORKING_SECONDS)
        env.check(worker.running, "the worker had ended before it was killed")
        worker.kill()
        at_work += env.count_uncommitted() > 0
        if number % (kills // _CHECKS_HALFWAY) == 0:
            env.check_committed_so_far()
    env.figures |= {"kills": kills, "kills with records uncommitted": at_work}
    env.workers.start()
