"""Helpers for tests on the local stack."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from deploy.local.process import REPOSITORY

_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.02, 0.5


@dataclass(frozen=True)
class Topics:
    """The topics of one test."""

    events: str
    dead_letters: str


def fresh_name(prefix: str) -> str:
    """A unique name for a topic or a database."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


def wait_until(
    condition: Callable[[], bool], what: str, timeout_seconds: float = 15.0, poll_seconds: float | None = None
) -> float:
    """Poll until `condition` holds; return the seconds that took. Raises TimeoutError, which names `what`.

    By default it polls the more rarely the longer it waits: every 20 ms at first, at most twice a second. To scrape a
    worker costs 12 ms of CPU, so that tests would otherwise take it from what they wait for.
    """
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        if waited > timeout_seconds:
            raise TimeoutError(f"not within {timeout_seconds:g} s: {what}")
        time.sleep(poll_seconds or min(max(_FIRST_POLL_SECONDS, waited / 20), _LAST_POLL_SECONDS))
    return time.monotonic() - started


def parse_exports(up: subprocess.Popen[str]) -> dict[str, str]:
    """The environment of a shell that has executed the lines `up` prints before the first empty one."""
    assert up.stdout is not None
    script = "".join([*iter(up.stdout.readline, "\n"), "env -0\n"])
    shell = subprocess.run(["/bin/sh", "-eu"], input=script, env={}, capture_output=True, text=True, check=True)
    return dict(entry.split("=", 1) for entry in shell.stdout.split("\0") if entry)


def find_processes(text: str) -> list[str]:
    """The command lines, of all processes on this machine, that contain `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if text in command:
            found.append(command)
    return found


@contextmanager
def run_local_program(folder: Path, *arguments: str) -> Iterator[list[str]]:
    """What `python -m deploy.local` prints before it names Ctrl-C, which then ends it.

    Its temporary files are in `folder`. Raises AssertionError if it leaves a process or a file, or prints a traceback.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    with (folder / "log").open("w+") as stderr:
        program = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "deploy.local", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(temporary), "KAFKA_TOPIC": "elsewhere"},
        )
        assert program.stdout is not None
        try:
            yield list(takewhile(lambda line: "Ctrl-C" not in line, program.stdout))
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=30)
        finally:
            program.kill()
    assert "Traceback" not in (folder / "log").read_text("utf-8")
    assert program.returncode == 0
    assert find_processes(str(temporary)) == []
    assert list(temporary.iterdir()) == []
