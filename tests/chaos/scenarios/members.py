"""Workers that come, go and stall, and the signals that end them."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.chaos.field import COMPRESSED
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from tests.chaos.crew import Member
    from tests.chaos.field import Field

_CHANGES = 8
_MOST_MEMBERS = 6
"""More than the topic has partitions."""
_SHUTDOWN_SECONDS = float(COMPRESSED["SHUTDOWN_TIMEOUT_SECONDS"])
_AT_ONCE_SECONDS = 1.5
_REPLICAS = 3
_SLOWLY = {"BATCH_MAX_EVENTS": "100"}
_WITHOUT_END = {"RETRY_ATTEMPTS": "1000", "RETRY_MAX_SECONDS": "600"}


def come_and_go(field: Field) -> None:
    """Members join and leave the group under load, alone and several at once, up to more than there are partitions."""
    field.crew.start()
    with field.load.flowing(per_second=field.events / (3 * _CHANGES)):
        for _ in range(_CHANGES):
            members, more = _members(field), len(field.crew.running) < _MOST_MEMBERS
            if more and (len(members) < 2 or field.random.random() < 0.6):
                field.crew.start(ready=False)
            elif members:
                _leaves(field, field.random.choice(members))
            field.chance(0.0, 3.0)
    field.notes["members at the end"] = len(field.crew.running)


def restart_one_by_one(field: Field) -> None:
    """Three members; each in turn is ended and replaced under load, as a deployment does."""
    for _ in range(_REPLICAS):
        field.crew.start(ready=False)
    field.wait(lambda: not any(member.process.readiness() for member in field.crew.running), "all are ready")
    with field.load.flowing(per_second=field.events / 20):
        for member in field.crew.running:
            _leaves(field, member)
            field.crew.start()
    field.check(len(field.crew.running) == _REPLICAS, f"{len(field.crew.running)} members run")


def stall(field: Field) -> None:
    """A member stops where it is, longer than its session, while another takes its partitions; then it wakes."""
    zombie, _ = field.crew.start(_SLOWLY), field.crew.start(_SLOWLY, ready=False)
    with field.load.flowing(per_second=field.events / 15):
        for _ in range(2):
            field.chance(0.0, 2.0)
            field.crew.signal(zombie, signal.SIGSTOP)
            field.chance(0.5, 6.0)
            field.crew.signal(zombie, signal.SIGCONT)
    field.wait(lambda: not zombie.process.readiness(), "the member that stalled is back", timeout_seconds=60.0)


def ask_to_stop(field: Field) -> None:
    """SIGTERM in each state, in any order: it exits with 0 within SHUTDOWN_TIMEOUT_SECONDS."""
    states = list(_STATES.items())
    field.random.shuffle(states)
    slowest = 0.0
    for name, reach in states:
        member = reach(field)
        took = field.crew.end(member)
        slowest = max(slowest, took)
        field.check(member.exit_code == 0, f"{name}: exit code {member.exit_code} after SIGTERM")
        field.check(took <= _SHUTDOWN_SECONDS, f"{name}: it took {took:.1f} s to end")
        field.engine_proxy.away = False
        for other in field.crew.running:
            field.wait(lambda other=other: not other.process.readiness(), "the other has joined")  # type: ignore[misc]
            field.crew.end(other)
        field.audit_so_far()
    field.notes["slowest stop s"] = round(slowest, 1)
    field.crew.start()


def ask_twice(field: Field) -> None:
    """A second SIGTERM while the worker finishes what is under way ends it at once."""
    field.load.send(field.events // 2)
    member = field.crew.start()
    field.wait(lambda: field.rows() > 0, "the first rows")
    field.engine_proxy.silent = True
    field.load.send_rest()
    field.wait(field.engine_proxy.held.is_set, "an insert waits for its answer")
    member.dismissed = True
    field.crew.signal(member, signal.SIGTERM)
    field.wait(lambda: bool(member.said("asked to stop")), "it has heard")
    field.check(member.running, "it ended at the first signal; there was nothing to wait for")
    asked = time.monotonic()
    field.crew.signal(member, signal.SIGTERM)
    field.wait(lambda: not member.running, "it has ended")
    took = time.monotonic() - asked
    field.notes["ended after s"] = round(took, 2)
    field.check(took <= _AT_ONCE_SECONDS, f"it took {took:.1f} s to end after the second signal")
    field.engine_proxy.silent = False
    field.audit_so_far()
    field.crew.start()


def _members(field: Field) -> list[Member]:
    """The workers that have joined: Tansu is stuck for good when one leaves in the middle of its first JoinGroup."""
    return [member for member in field.crew.running if not member.process.readiness()]


def _leaves(field: Field, member: Member) -> None:
    took = field.crew.end(member)
    field.check(member.exit_code == 0, f"exit code {member.exit_code} after SIGTERM")
    field.check(took <= _SHUTDOWN_SECONDS, f"it took {took:.1f} s to leave")


def _idle(field: Field) -> Member:
    member = field.crew.start()
    field.settle()
    return member


def _in_mid_batch(field: Field) -> Member:
    field.load.send(field.events // len(_STATES))
    member = field.crew.start(_SLOWLY)
    field.chance(0.0, 0.3)
    return member


def _retrying(field: Field) -> Member:
    member = field.crew.start(_WITHOUT_END)
    field.engine_proxy.away = True
    field.load.send(field.events // len(_STATES))
    before = field.engine_proxy.refused
    field.wait(lambda: field.engine_proxy.refused > before + 1, "it has tried more than once")
    return member


def _holding(field: Field) -> Member:
    member = field.crew.start({"ON_UNAVAILABLE": "hold", "RETRY_ATTEMPTS": "1"})
    field.engine_proxy.away = True
    field.load.send(field.events // len(_STATES))
    field.wait(lambda: "store" in member.process.readiness(), "it holds")
    return member


def _rebalancing(field: Field) -> Member:
    first = field.crew.start(_SLOWLY)
    field.load.send(field.events // len(_STATES))
    field.crew.start(_SLOWLY, ready=False)
    field.chance(0.0, 2.0)
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
