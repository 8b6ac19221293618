"""A ClickHouse that dies, is away, is slow, or takes no more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploy.local.demo.table import TABLE
from tests.chaos.claims import keeps_membership, resumes
from tests.chaos.field import IN_FLIGHT_METRICS, PATIENT, POLL_SECONDS
from tests.chaos.scenario import Scenario
from tests.chaos.stream import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.field import Field
    from tests.support.connection import Lane

_KILLS = 3
_INSERTED_BYTES = 300_000
"""What a second or two of the load become."""


def kill_engine(field: Field) -> None:
    """SIGKILL the engine while the bytes of an insert are on their way to it, and start it again on its data."""
    sending = field.engine_proxy.to_server
    member = field.crew.start()
    with field.load.flowing(per_second=field.events / (5 * _KILLS)):
        for _ in range(_KILLS):
            field.wait(_passes(sending, field.random.randrange(1, _INSERTED_BYTES)), "an insert", poll_seconds=0.001)
            field.stack.engine.kill()
            field.chance(0.0, 1.0)
            field.stack.engine.start()
    inserts = member.process.telemetry()["metrics_worker_inserts_total"]
    cut_off = sum(count for labels, count in inserts.items() if "unavailable" in labels)
    field.notes |= {"kills of the engine": _KILLS, "inserts without an answer": cut_off}


def _passes(lane: Lane, more: int) -> Callable[[], bool]:
    until = lane.passed + more
    return lambda: lane.passed >= until


def take_engine_away(field: Field) -> None:
    """Kill the engine under load, for a time that is long beside the retry budget, and bring it back."""
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start()
        field.wait(lambda: field.rows() > 0, "the first rows")
        field.stack.engine.kill()
        field.wait(lambda: "store" in member.process.readiness(), "the worker holds")
        field.chance(field.outage_seconds, field.outage_seconds)
        field.check("store" in member.process.readiness(), "the worker does not say at /readyz that it holds")
        field.stack.engine.start()
        resumes(field, member)
    keeps_membership(field, member)


def forbid_parts(field: Field) -> None:
    """Let the table refuse inserts with "too many parts", longer than the retry budget, and then take them again."""
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start()
        field.wait(lambda: field.rows() > 0, "the first rows")
        _limit_parts(field, 1)
        field.wait(lambda: "TOO_MANY_PARTS" in member.process.readiness().get("store", ""), "it holds and says why")
        field.chance(field.outage_seconds, field.outage_seconds)
        _limit_parts(field, 100_000)
        resumes(field, member)
    keeps_membership(field, member)


def _limit_parts(field: Field, parts: int) -> None:
    setting = f"parts_to_delay_insert = {parts}, parts_to_throw_insert = {parts}"
    field.run_sql(f"ALTER TABLE {TABLE} MODIFY SETTING {setting}")


def slow_engine_down(field: Field) -> None:
    """Let each insert take five seconds in the engine; the group must not notice."""
    # A statement may sleep three seconds at most for each call of the function.
    for number in (1, 2):
        field.run_sql(f"ALTER TABLE {TABLE} ADD CONSTRAINT slow_{number} CHECK sleep(2.5) = 0")
    field.load.send_rest()
    member = field.crew.start()
    field.settle()
    sums = {name: sum(member.process.telemetry()[f"metrics_worker_insert_seconds_{name}"].values()) for name in _MEAN}
    mean = sums["sum"] / sums["count"]
    field.notes["seconds an insert"] = round(mean, 2)
    field.check(mean >= 5, f"an insert took only {mean:.1f} s")
    keeps_membership(field, member)
    for number in (1, 2):
        field.run_sql(f"ALTER TABLE {TABLE} DROP CONSTRAINT slow_{number}")


_MEAN = ("sum", "count")


def start_while_away(field: Field) -> None:
    """Start workers, and kill them, while ClickHouse is away and every record waits; then bring it back."""
    field.stack.engine.kill()
    field.load.send_rest()
    for _ in range(_STARTS):
        member = field.crew.start(ready=False)
        field.wait(lambda: "store" in member.process.readiness(), "the worker holds")  # noqa: B023 - called at once
        field.chance(0.5, 3.0)
        field.check("store" in member.process.readiness(), "the worker is ready while ClickHouse is away")
        field.crew.kill(member)
    member = field.crew.start(ready=False)
    looks = 0
    until = time.monotonic() + field.outage_seconds
    while time.monotonic() < until:
        field.check("store" in member.process.readiness(), "the worker is ready while ClickHouse is away")
        looks += 1
        time.sleep(POLL_SECONDS)
    field.check(not any(field.committed().values()), "something was committed while ClickHouse was away")
    field.notes |= {"starts during the outage": _STARTS + 1, "looks at /readyz": looks}
    field.stack.engine.start()
    resumes(field, member)


_STARTS = 3


def flaky_store(field: Field) -> None:
    """Let half of all inserts fail at random with a code that has no class, and then none."""
    # Inserts of the same seven milliseconds fail together; nothing in a row decides.
    odd = "intDiv(toUnixTimestamp64Milli(now64(3)), 7) % 2"
    field.run_sql(f"ALTER TABLE {TABLE} ADD CONSTRAINT flaky CHECK bitTest(1, if({odd}, 100, 1)) >= 0")
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start(ready=False)
        field.chance(field.outage_seconds, field.outage_seconds)
    field.run_sql(f"ALTER TABLE {TABLE} DROP CONSTRAINT flaky")
    resumes(field, member)
    inserts = member.process.telemetry()["metrics_worker_inserts_total"]
    failed = sum(count for labels, count in inserts.items() if "unclassified" in labels)
    field.notes["inserts that failed without a class"] = failed
    field.check(failed > 10, f"only {failed:g} inserts failed")


SCENARIOS = (
    Scenario(
        "engine-killed",
        "SIGKILL for ClickHouse while it inserts, three times, and a restart on its data.",
        kill_engine,
        events=20_000,
        environment={"BATCH_MAX_EVENTS": "2000", **PATIENT},
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
        mix=PLAIN,
        environment={"CLICKHOUSE_TIMEOUT_SECONDS": "12", "KAFKA_REBALANCE_TIMEOUT_SECONDS": "20"},
    ),
)
