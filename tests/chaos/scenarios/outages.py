"""ClickHouse does not take rows for `--outage` seconds: dead, full, misconfigured, or without an answer."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from deploy.local.demo.table import TABLE
from tests.chaos.checks import interrupt_store
from tests.chaos.environment import IN_FLIGHT_METRICS, LONG_RETRIES
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import Fault, FaultNotPossibleError, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.environment import Environment

_HOLD = {"ON_UNAVAILABLE": "hold"}
_DISK_BYTES = 96 * 1024 * 1024
_MOST_FAILED_INSERTS = 100
"""While one shard is down: retries of what is in flight, and probes. Bisection would need thousands."""


def _limit_parts(env: Environment, parts: int) -> None:
    """Let the table refuse inserts with "too many parts" when it has more."""
    env.run_sql(f"ALTER TABLE {TABLE} MODIFY SETTING parts_to_delay_insert = {parts}, parts_to_throw_insert = {parts}")


def _fill_disk(env: Environment) -> None:
    with _ballast(env).open("wb", buffering=0) as file, suppress(OSError):  # no space left on device, as intended
        while True:
            file.write(bytes(4096))


def _ballast(env: Environment) -> Path:
    return env.directory / "clickhouse" / "ballast"


_ENGINE_KILLED = Fault(lambda env: env.stack.engine.kill(), lambda env: env.stack.engine.start())
_SHARD_KILLED = Fault(lambda env: env.engines[1].kill(), lambda env: env.engines[1].start())
_PARTS_LIMITED = Fault(lambda env: _limit_parts(env, 1), lambda env: _limit_parts(env, 100_000))
_DISK_FILLED = Fault(_fill_disk, lambda env: _ballast(env).unlink())
_MISCONFIGURED = {
    "UNKNOWN_TABLE": Fault(
        lambda env: env.run_sql(f"RENAME TABLE {TABLE} TO elsewhere"),
        lambda env: env.run_sql(f"RENAME TABLE elsewhere TO {TABLE}"),
    ),
    "AUTHENTICATION_FAILED": Fault(
        lambda env: env.stack.engine.change_password("another"), lambda env: env.stack.engine.change_password("")
    ),
}


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
    worker = interrupt_store(env, _SHARD_KILLED, "ALL_CONNECTION_TRIES_FAILED")
    failed = worker.count_inserts("unavailable")
    env.figures["inserts that failed"] = failed
    env.check(failed <= _MOST_FAILED_INSERTS, f"{failed:g} inserts failed")
    splits = worker.telemetry()["metrics_worker_splits_total"]
    cut = sum(count for (reason,), count in splits.items() if reason != "refused")
    env.check(not cut, f"{cut:g} blocks were bisected because of an outage")


def misconfigure(env: Environment, error: str) -> None:
    """Cause `error`, which is no fault of the rows: the worker must hold once, and log the reason."""
    worker = interrupt_store(env, _MISCONFIGURED[error], error)
    starts = worker.log_lines("holding")
    # On a busy machine the restart of the engine with the other password may be the first reason.
    reasons = [line["reason"] for line in starts + worker.log_lines("holding for another reason")]
    env.check(len(starts) == 1 and any(error in reason for reason in reasons), f"logged reasons: {reasons}")


SCENARIOS = (
    Scenario(
        "engine-away",
        "ClickHouse away under load for --outage seconds, ON_UNAVAILABLE=dead_letter.",
        partial(interrupt_store, fault=_ENGINE_KILLED),
        outage_letters=IN_FLIGHT_METRICS,
        short=True,
    ),
    Scenario(
        "engine-away-hold",
        "The same with ON_UNAVAILABLE=hold: not one dead letter.",
        partial(interrupt_store, fault=_ENGINE_KILLED),
        environment=_HOLD,
    ),
    Scenario(
        "too-many-parts",
        "ClickHouse refuses inserts with code 252 for --outage seconds.",
        partial(interrupt_store, fault=_PARTS_LIMITED, reason="TOO_MANY_PARTS"),
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
        partial(interrupt_store, fault=_DISK_FILLED),
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
        partial(interrupt_store, fault=Fault.of_proxy("engine_proxy", "silent")),
        outage_letters=IN_FLIGHT_METRICS,
        short=True,
    ),
)
