"""Workers that die, come, go and stall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from tests.chaos.field import Field

_EVENTS_A_KILL = 5_000
_LEAST_KILLS = 4
_LIFE_SECONDS = 0.4
_YOUNG_DEATHS = 0.1
_START_SECONDS = 2.0
_HALFWAY_AUDITS = 4


def kill_workers(field: Field) -> None:
    """SIGKILL one worker after the other at random moments, most of them at work, some while they start."""
    kills = max(_LEAST_KILLS, field.events // _EVENTS_A_KILL)
    at_work = 0
    for number in range(kills):
        field.load.send(field.events // kills)
        if field.random.random() < _YOUNG_DEATHS:
            member = field.crew.launch()
            field.chance(0.0, _START_SECONDS)
        else:
            member = field.crew.start()
            field.chance(0.0, _LIFE_SECONDS)
        field.check(member.running, "the worker had ended before it was killed")
        field.crew.kill(member)
        at_work += field.backlog() > 0
        if number % (kills // _HALFWAY_AUDITS) == 0:
            field.audit_so_far()
    field.notes |= {"kills": kills, "kills with records uncommitted": at_work}
    field.crew.start()


SCENARIOS = (
    Scenario(
        "worker-killed",
        "SIGKILL at random moments: while it starts, joins, reads, inserts, commits.",
        kill_workers,
        events=20_000,
        short=True,
    ),
)
