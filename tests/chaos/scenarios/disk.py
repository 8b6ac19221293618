"""A disk that is full, and has room again."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.chaos.claims import keeps_membership, resumes
from tests.chaos.field import IN_FLIGHT_METRICS
from tests.chaos.scenario import NotPossibleError, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.field import Field

_DISK_BYTES = 96 * 1024 * 1024


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
        resumes(field, member)
    keeps_membership(field, member)


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
