"""ClickHouse does not take rows for `--outage` seconds: dead, full, misconfigured, or without an answer."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from deploy.local.demo.table import TABLE
from tests.chaos.checks import interrupt_store
from tests.chaos.environment import IN_FLIGHT_METRICS, LONG_RETRIES
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import FaultNotPossibleError, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.environment import Environment

_HOLD = {"ON_UNAVAILABLE": "hold"}
_DISK_BYTES = 96 * 1024 * 1024
_MOST_FAILED_INSERTS = 100
"""While one shard is down: retries of what is in flight, and probes. Bisection would need thousands."""


@contextmanager
def _engine_killed(env: Environment) -> Iterator[None]:
    env.stack.engine.kill()
    yield
    env.stack.engine.start()


@contextmanager
def _parts_limited(env: Environment) -> Iterator[None]:
    """The table refuses inserts with "too many parts"."""
    setting = "ALTER TABLE {} MODIFY SETTING parts_to_delay_insert = {}, parts_to_throw_insert = {}"
    env.run_sql(setting.format(TABLE, 1, 1))
    yield
    env.run_sql(setting.format(TABLE, 100_000, 100_000))


@contextmanager
def _shard_killed(env: Environment) -> Iterator[None]:
    assert env.cluster is not None, "the scenario has shards"
    env.cluster.engines[1].kill()
    yield
    env.cluster.engines[1].start()


@contextmanager
def _table_renamed(env: Environment) -> Iterator[None]:
    env.run_sql(f"RENAME TABLE {TABLE} TO elsewhere")
    yield
    env.run_sql(f"RENAME TABLE elsewhere TO {TABLE}")


@contextmanager
def _password_changed(env: Environment) -> Iterator[None]:
    env.stack.engine.change_password("another")
    yield
    env.stack.engine.change_password("")


@contextmanager
def _without_answers(env: Environment) -> Iterator[None]:
    env.engine_proxy.silent = True
    yield
    env.engine_proxy.silent = False


@contextmanager
def _disk_filled(env: Environment) -> Iterator[None]:
    ballast = env.directory / "clickhouse" / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass  # no space left on device, as intended
    yield
    ballast.unlink()


@contextmanager
def mount_small_disk(directory: Path) -> Iterator[None]:
    """Mount a file system for the engine's data alone, so that no other data is on the full disk."""
    data = directory / "clickhouse"
    data.mkdir()
    if os.geteuid() != 0:
        raise FaultNotPossibleError("a small file system for the engine needs root: mount -t tmpfs")
    mounted = subprocess.run(  # noqa: S603 - every word is ours
        ["/bin/mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(data)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        raise FaultNotPossibleError(f"a small file system for the engine cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(data)], check=True)  # noqa: S603


def kill_shard(env: Environment) -> None:
    """Kill one of two shards: few inserts may fail, and no block may be bisected because of the outage."""
    telemetry = interrupt_store(env, _shard_killed, "ALL_CONNECTION_TRIES_FAILED").telemetry()
    inserts = telemetry["metrics_worker_inserts_total"]
    failed = sum(count for labels, count in inserts.items() if "unavailable" in labels)
    env.figures["inserts that failed"] = failed
    env.check(failed <= _MOST_FAILED_INSERTS, f"{failed:g} inserts failed")
    cut = sum(count for (reason,), count in telemetry["metrics_worker_splits_total"].items() if reason != "refused")
    env.check(not cut, f"{cut:g} blocks were bisected because of an outage")


def misconfigure(env: Environment, error: str) -> None:
    """Cause `error`, which is no fault of the rows: the worker must hold once, and log the reason."""
    faults = {"UNKNOWN_TABLE": _table_renamed, "AUTHENTICATION_FAILED": _password_changed}
    worker = interrupt_store(env, faults[error], error)
    starts = worker.log_lines("holding")
    # On a busy machine the restart of the engine with the other password may be the first reason.
    reasons = [line["reason"] for line in starts + worker.log_lines("holding for another reason")]
    env.check(len(starts) == 1 and any(error in reason for reason in reasons), f"logged reasons: {reasons}")


SCENARIOS = (
    Scenario(
        "engine-away",
        "ClickHouse away under load for --outage seconds, ON_UNAVAILABLE=dead_letter.",
        partial(interrupt_store, fault=_engine_killed),
        outage_letters=IN_FLIGHT_METRICS,
        short=True,
    ),
    Scenario(
        "engine-away-hold",
        "The same with ON_UNAVAILABLE=hold: not one dead letter.",
        partial(interrupt_store, fault=_engine_killed),
        environment=_HOLD,
    ),
    Scenario(
        "too-many-parts",
        "ClickHouse refuses inserts with code 252 for --outage seconds.",
        partial(interrupt_store, fault=_parts_limited, reason="TOO_MANY_PARTS"),
        outage_letters=IN_FLIGHT_METRICS,
    ),
    Scenario(
        "shard-away",
        "One of two shards of the table away under load for --outage seconds, ON_UNAVAILABLE=dead_letter.",
        kill_shard,
        outage_letters=IN_FLIGHT_METRICS,
        shards=2,
        short=True,
    ),
    Scenario(
        "shard-away-hold",
        "The same with ON_UNAVAILABLE=hold: not one dead letter.",
        kill_shard,
        environment=_HOLD,
        shards=2,
    ),
    Scenario(
        "disk-full",
        "No space left on the engine's disk, then room again.",
        partial(interrupt_store, fault=_disk_filled),
        outage_letters=IN_FLIGHT_METRICS,
        before_engine=mount_small_disk,
    ),
    Scenario(
        "table-missing",
        "The table is renamed while the worker runs, and renamed back: no dead letter, the reason at /readyz.",
        partial(misconfigure, error="UNKNOWN_TABLE"),
        mix=VALID_ONLY,
        short=True,
    ),
    Scenario(
        "password-wrong",
        "The password of ClickHouse changes while the worker runs, and back: no dead letter, the reason at /readyz.",
        partial(misconfigure, error="AUTHENTICATION_FAILED"),
        mix=VALID_ONLY,
        environment=LONG_RETRIES,  # the engine restarts with the other password, which must not count as an outage
    ),
    Scenario(
        "black-hole",
        "ClickHouse accepts and never answers, longer than every time-out.",
        partial(interrupt_store, fault=_without_answers),
        outage_letters=IN_FLIGHT_METRICS,
        short=True,
    ),
)
