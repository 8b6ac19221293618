"""Runs a command of the worker in a process of its own, forked from one that has imported all commands already.

Python and the imports take ten times the CPU of most commands. How a command starts by itself is shown by those tests
that call `Commands.run_in_new_python`, and by those of services, terminals and standard streams.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from multiprocessing import connection, get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory

from worker.__main__ import main
from worker.observability.logs import flush_summaries

_COMMANDS = ("audit", "check", "console", "dlq", "exec_command", "migrate", "plan", "produce", "replay", "validate")
_lock = threading.Lock()
"""A start looks for ended processes; another thread must not read the same exit code meanwhile."""


def run_forked(
    arguments: tuple[str, ...], environment: Mapping[str, str], timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command without standard input, as `subprocess.run` would.

    Raises:
        subprocess.TimeoutExpired: the command has not ended in time, and was killed.
    """
    with TemporaryDirectory() as folder:
        outputs = tuple(str(Path(folder) / name) for name in ("stdout", "stderr"))
        process = _fork_server().Process(target=_run, args=(arguments, dict(environment), *outputs))
        with _lock:
            process.start()
        ended = connection.wait([process.sentinel], timeout_seconds)
        if not ended:
            process.kill()
        with _lock:
            process.join()
        stdout, stderr = (Path(name).read_text("utf-8") for name in outputs)
        if not ended:
            raise subprocess.TimeoutExpired(arguments, timeout_seconds, stdout, stderr)
        assert process.exitcode is not None
        return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)


@cache
def _fork_server() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, *(f"worker.commands.{name}" for name in _COMMANDS)])
    return context


def _run(arguments: tuple[str, ...], environment: dict[str, str], stdout: str, stderr: str) -> None:
    for descriptor, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, stdout, os.O_WRONLY | os.O_CREAT),
        (2, stderr, os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["metrics-worker", *arguments]
    try:
        main()
    finally:
        flush_summaries()  # this process does not call what is registered with atexit
