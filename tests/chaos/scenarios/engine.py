"""A ClickHouse that dies, is away, is slow, or takes no more."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from deploy.local.demo.table import TABLE
from tests.chaos.field import IN_FLIGHT_EVENTS
from tests.chaos.scenario import NotPossibleError, Scenario
from tests.chaos.stream import METRICS, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.crew import Member
    from tests.chaos.field import Field
    from tests.support.proxy import Lane

_IN_FLIGHT_METRICS = IN_FLIGHT_EVENTS * len(METRICS)
_PROBE_SECONDS = 15.0
"""Longest wait between two probes of a store that is away: `worker.retry.UNTIL_DONE`."""
_GRACE_SECONDS = 5.0
"""On a busy machine: to connect, and for the first insert after the probe."""
_PATIENT = {"RETRY_ATTEMPTS": "100", "RETRY_MAX_SECONDS": "20"}
_KILLS = 3
_INSERTED_BYTES = 300_000
"""What a second or two of the load become."""
_DISK_BYTES = 96 * 1024 * 1024


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
    cut_off = sum(count for labels, count in inserts.items() if "StoreUnavailable" in labels)
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
        _resumes(field, member)
    _keeps_membership(field, member)


def forbid_parts(field: Field) -> None:
    """Let the table refuse inserts with "too many parts", longer than the retry budget, and then take them again."""
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start()
        field.wait(lambda: field.rows() > 0, "the first rows")
        _limit_parts(field, 1)
        field.wait(lambda: "TOO_MANY_PARTS" in member.process.readiness().get("store", ""), "it holds and says why")
        field.chance(field.outage_seconds, field.outage_seconds)
        _limit_parts(field, 100_000)
        _resumes(field, member)
    _keeps_membership(field, member)


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
    _keeps_membership(field, member)
    for number in (1, 2):
        field.run_sql(f"ALTER TABLE {TABLE} DROP CONSTRAINT slow_{number}")


_MEAN = ("sum", "count")


def misconfigure(field: Field, fault: str) -> None:
    """Make a mistake that is not the metrics' while the worker runs, and mend it."""
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start()
        field.wait(lambda: field.rows() > 0, "the first rows")
        with _FAULTS[fault](field):
            field.wait(lambda: fault in member.process.readiness().get("store", ""), "the reason at /readyz")
            field.chance(field.outage_seconds / 2, field.outage_seconds)
            field.check(fault in member.process.readiness().get("store", ""), "the reason at /readyz has gone")
        _resumes(field, member)
    starts = [line["reason"] for line in member.said("holding")]
    field.check(len(starts) == 1 and fault in starts[0], f"log lines when holding starts: {starts}")
    _keeps_membership(field, member)


@contextmanager
def _table_missing(field: Field) -> Iterator[None]:
    field.run_sql(f"RENAME TABLE {TABLE} TO elsewhere")
    yield
    field.run_sql(f"RENAME TABLE elsewhere TO {TABLE}")


@contextmanager
def _other_password(field: Field) -> Iterator[None]:
    """Somebody changes the password at the engine, and changes it back."""
    field.stack.engine.change_password("another")
    yield
    field.stack.engine.change_password("")


_FAULTS = {"UNKNOWN_TABLE": _table_missing, "AUTHENTICATION_FAILED": _other_password}


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of its own for the engine's data, so that it can be full without any other being."""
    data = directory / "clickhouse"
    data.mkdir()
    if os.geteuid() != 0:
        raise NotPossibleError("a small file system for the engine needs root: mount -t tmpfs")
    mounted = subprocess.run(  # noqa: S603 - every word is ours
        ["/bin/mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(data)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        raise NotPossibleError(f"a small file system for the engine cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(data)], check=True)  # noqa: S603


def fill_disk(field: Field) -> None:
    """Leave the engine no byte to write, longer than the retry budget, and then make room."""
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start()
        field.wait(lambda: field.rows() > 0, "the first rows")
        ballast = field.directory / "clickhouse" / "ballast"
        _fill(ballast)
        field.wait(lambda: "store" in member.process.readiness(), "the worker holds")
        field.chance(field.outage_seconds / 2, field.outage_seconds)
        ballast.unlink()
        _resumes(field, member)
    _keeps_membership(field, member)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return  # no space left on device: that is what was wanted


def _resumes(field: Field, member: Member) -> None:
    """Mended: the worker must find out by itself, within the longest wait between two probes."""
    seconds = field.wait(lambda: not member.process.readiness(), "the worker is ready again", timeout_seconds=60.0)
    field.notes["resumed after s"] = round(seconds, 1)
    limit = _PROBE_SECONDS + _GRACE_SECONDS
    field.check(seconds <= limit, f"it resumed only {seconds:.1f} s after all was mended; {limit:g} are allowed")


def _keeps_membership(field: Field, member: Member) -> None:
    lost = member.process.telemetry()["metrics_worker_rebalances_total"][()]
    field.check(lost == 0, f"the group took the partitions away {lost:g} times")


SCENARIOS = (
    Scenario(
        "engine-killed",
        "SIGKILL for ClickHouse while it inserts, three times, and a restart on its data.",
        kill_engine,
        events=20_000,
        environment={"BATCH_MAX_EVENTS": "2000", **_PATIENT},
        short=True,
    ),
    Scenario(
        "engine-away",
        "ClickHouse away under load for --outage seconds, ON_UNAVAILABLE=dead_letter.",
        take_engine_away,
        outage_letters=_IN_FLIGHT_METRICS,
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
        outage_letters=_IN_FLIGHT_METRICS,
    ),
    Scenario(
        "engine-slow",
        "Each insert takes 5 seconds, longer than the group's session time-out.",
        slow_engine_down,
        events=2_000,
        mix=PLAIN,
        environment={"CLICKHOUSE_TIMEOUT_SECONDS": "12", "KAFKA_REBALANCE_TIMEOUT_SECONDS": "20"},
    ),
    Scenario(
        "disk-full",
        "No space left on the engine's disk, then room again.",
        fill_disk,
        outage_letters=_IN_FLIGHT_METRICS,
        before_engine=small_disk,
    ),
    Scenario(
        "table-missing",
        "The table is renamed away while the worker runs, and back: no dead letter, the reason said.",
        partial(misconfigure, fault="UNKNOWN_TABLE"),
        mix=PLAIN,
        short=True,
    ),
    Scenario(
        "password-wrong",
        "The password at ClickHouse changes while the worker runs, and back: no dead letter, the reason said.",
        partial(misconfigure, fault="AUTHENTICATION_FAILED"),
        mix=PLAIN,
        environment=_PATIENT,  # the engine starts again with the other password: that is no outage
    ),
)
