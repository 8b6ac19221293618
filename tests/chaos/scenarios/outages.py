"""ClickHouse does not take rows for `--outage` seconds: dead, full, misconfigured, or without an answer."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from deploy.local.demo.table import TABLE
from tests.chaos.checks import interrupt_store
from tests.chaos.environment import IN_FLIGHT_METRICS, LONG_RETRIES, Environment
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import FaultNotPossibleError, scenario

_HOLD = {"ON_UNAVAILABLE": "hold"}
_SAME_WITH_HOLD = "The same with ON_UNAVAILABLE=hold: not one dead letter."
_DISK_BYTES = 96 * 1024 * 1024
_MOST_FAILED_INSERTS = 100
"""While one shard is down: retries of what is in flight, and probes. Bisection would need thousands."""


@scenario("engine-away-hold", _SAME_WITH_HOLD, environment=_HOLD)
@scenario("engine-away", outage_letters=IN_FLIGHT_METRICS)
def kill_engine(env: Environment) -> None:
    """ClickHouse away under load for --outage seconds, ON_UNAVAILABLE=dead_letter."""
    interrupt_store(env, env.stack.engine.kill, env.stack.engine.start)


@scenario("too-many-parts", outage_letters=IN_FLIGHT_METRICS)
def limit_parts(env: Environment) -> None:
    """ClickHouse refuses inserts with code 252 for --outage seconds."""
    setting = f"ALTER TABLE {TABLE} MODIFY SETTING parts_to_delay_insert = {{0}}, parts_to_throw_insert = {{0}}"
    limit, unlimit = (partial(env.run_sql, setting.format(parts)) for parts in (1, 100_000))
    interrupt_store(env, limit, unlimit, "TOO_MANY_PARTS")


@scenario("shard-away-hold", _SAME_WITH_HOLD, environment=_HOLD, shards=2)
@scenario("shard-away", outage_letters=IN_FLIGHT_METRICS, shards=2, short=True)
def kill_shard(env: Environment) -> None:
    """One of two shards of the table away under load for --outage seconds, ON_UNAVAILABLE=dead_letter."""
    shard = env.engines[1]
    worker = interrupt_store(env, shard.kill, shard.start, "ALL_CONNECTION_TRIES_FAILED")
    failed = worker.count_inserts("unavailable")
    env.figures["inserts that failed"] = failed
    env.check(failed <= _MOST_FAILED_INSERTS, f"{failed:g} inserts failed")
    splits = worker.telemetry()["metrics_worker_splits_total"]
    cut = sum(count for (reason,), count in splits.items() if reason != "refused")
    env.check(not cut, f"{cut:g} blocks were bisected because of an outage")


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


@scenario("disk-full", outage_letters=IN_FLIGHT_METRICS, before_engine=mount_small_disk)
def fill_disk(env: Environment) -> None:
    """No space left on the engine's disk, then room again."""
    ballast = env.directory / "clickhouse" / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):  # no space left on device, as intended
            while True:
                file.write(bytes(4096))

    interrupt_store(env, fill, ballast.unlink)


@scenario("table-missing", mix=VALID_ONLY, short=True)
def rename_table(env: Environment) -> None:
    """The table is renamed while the worker runs, and renamed back: no dead letter, the reason at /readyz."""
    rename, rename_back = f"RENAME TABLE {TABLE} TO elsewhere", f"RENAME TABLE elsewhere TO {TABLE}"
    _misconfigure(env, "UNKNOWN_TABLE", partial(env.run_sql, rename), partial(env.run_sql, rename_back))


# The engine restarts with the other password, which must not count as an outage.
@scenario("password-wrong", mix=VALID_ONLY, environment=LONG_RETRIES)
def change_password(env: Environment) -> None:
    """The password of ClickHouse changes while the worker runs, and back: no dead letter, the reason at /readyz."""
    change = env.stack.engine.change_password
    _misconfigure(env, "AUTHENTICATION_FAILED", partial(change, "another"), partial(change, ""))


def _misconfigure(env: Environment, error: str, cause: Callable[[], object], repair: Callable[[], object]) -> None:
    """Cause `error`, which is no fault of the rows: the worker must hold once, and log the reason."""
    worker = interrupt_store(env, cause, repair, error)
    starts = worker.log_lines("holding")
    # On a busy machine the restart of the engine with the other password may be the first reason.
    reasons = [line["reason"] for line in starts + worker.log_lines("holding for another reason")]
    env.check(len(starts) == 1 and any(error in reason for reason in reasons), f"logged reasons: {reasons}")


@scenario("black-hole", outage_letters=IN_FLIGHT_METRICS)
def withhold_answers(env: Environment) -> None:
    """ClickHouse accepts and never answers, longer than every time-out."""
    silence = partial(setattr, env.engine_proxy, "silent")
    interrupt_store(env, partial(silence, True), partial(silence, False))
