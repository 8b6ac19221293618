"""A disk that is full, and has room again."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.chaos.checks import check_no_rebalance, check_resumes
from tests.chaos.environment import IN_FLIGHT_METRICS
from tests.chaos.scenario import FaultNotPossibleError, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.environment import Environment

_DISK_BYTES = 96 * 1024 * 1024


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of its own for the engine's data, so that it can be full without any other being."""
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


def fill_disk(env: Environment) -> None:
    """Leave the engine no byte to write, longer than the retry budget, and then make room."""
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start()
        env.wait_until(lambda: env.count_rows() > 0, "the first rows")
        ballast = env.directory / "clickhouse" / "ballast"
        _fill(ballast)
        env.wait_until(lambda: "store" in worker.process.readiness(), "the worker holds")
        env.sleep_between(env.outage_seconds / 2, env.outage_seconds)
        ballast.unlink()
        check_resumes(env, worker)
    check_no_rebalance(env, worker)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return  # no space left on device: that is what was wanted


SCENARIOS = (
    Scenario(
        "disk-full",
        "No space left on the engine's disk, then room again.",
        fill_disk,
        outage_letters=IN_FLIGHT_METRICS,
        before_engine=small_disk,
    ),
)
