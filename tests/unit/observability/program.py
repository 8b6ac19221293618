"""A process that logs as the worker does."""

import subprocess
import sys

from deploy.local.environment import environment_without_settings

_CONFIGURE = """
import logging, sys
from worker.observability import logs
logs.configure("INFO", "json")
"""


def run_logging_program(program: str) -> list[str]:
    """The lines on stderr of a process that configures logging and runs `program`."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _CONFIGURE + program],
        capture_output=True,
        text=True,
        env=environment_without_settings(),
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()
