"""Child processes of the local stack: start and wait until ready, stop within a deadline, never leave one running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Self, TypeVar

from deploy.local import watchdog
from deploy.local.environment import environment_without_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOOPBACK = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parents[2]
PORTS = range(20_000, 32_768)
"""Below the ephemeral ports of Linux, one of which another process could get before a server listens, or while it
restarts."""
POLL_SECONDS = 0.02
WATCHDOG_SECONDS = 5.0
TAIL_CHARACTERS = 4_000

Ready = TypeVar("Ready")


class ProcessFailedError(RuntimeError):
    """A child process did not become ready; the message ends with its last output."""


class Process:
    """A child process under a `watchdog`, with its output in a log file.

    Any thread may start and stop it, one call at a time. The child has its own session, so that Ctrl-C in a terminal
    reaches only the parent, which then stops its children in order.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-I", "-S", watchdog.__file__, *command]
        self._log = log
        self._environment = {**environment_without_settings(), **(environment or {})}
        self._popen: subprocess.Popen[bytes] | None = None

    def update_environment(self, **environment: str) -> None:
        """Set environment variables for the next start."""
        self._environment |= environment

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The process group of the child and its watchdog."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._popen.pid

    def start(self, ready: Callable[[str], Ready | None], timeout_seconds: float = 30.0) -> Ready:
        """Start the process; call `ready` with its output until that returns a value, and return the value.

        Raises:
            ProcessFailedError: the process ended before, or was not ready in time and was killed.
        """
        if self.running:
            raise RuntimeError(f"{self.name} is already running")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=REPOSITORY,
                start_new_session=True,
            )
        try:
            return self._wait_until(ready, timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def _wait_until(self, ready: Callable[[str], Ready | None], timeout_seconds: float) -> Ready:
        deadline = time.monotonic() + timeout_seconds
        while self.running:
            result = ready(self.output())
            if result is not None:
                return result
            if time.monotonic() > deadline:
                raise ProcessFailedError(f"{self.name} was not ready in {timeout_seconds:g} s\n{self.tail()}")
            time.sleep(POLL_SECONDS)
        raise ProcessFailedError(f"{self.name} ended before it was ready\n{self.tail()}")

    def output(self) -> str:
        """The whole output since the last start."""
        return self._log.read_text(errors="replace")

    def tail(self) -> str:
        """The end of the output, for error messages."""
        return self.output()[-TAIL_CHARACTERS:]

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Send SIGTERM, and SIGKILL after the timeout. Do nothing if the process is not running."""
        if self._popen is None:
            return
        if self.running:
            self.resume()
            self._popen.terminate()
            with suppress(subprocess.TimeoutExpired):  # then killed below
                self._popen.wait(timeout_seconds)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL and wait until the process has ended and its port is free. Do nothing if it is not running."""
        if self._popen is None:
            return
        if self._popen.stdin is not None:
            # The watchdog reads end of file as the parent's death, kills the child and waits for it. Killing both from
            # here would wait only for the watchdog: the child is not our own child, and could outlive it.
            self._popen.stdin.close()
        try:
            self._popen.wait(WATCHDOG_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        self._popen = None

    def pause(self) -> None:
        """Suspend the process, as if its machine hung: connections stay open, but it does not answer.

        Returns when it is suspended; the watchdog, which forwards the signal, may be slow on a busy machine.
        """
        os.kill(self.pid, watchdog.PAUSE)
        deadline = time.monotonic() + WATCHDOG_SECONDS
        while not self._is_suspended() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _is_suspended(self) -> bool:
        """Whether the child of the watchdog is stopped (proc_pid_stat(5)); True where the kernel does not say."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
            states = [
                Path(f"/proc/{child}/stat").read_text("ascii").rpartition(")")[2].split()[0] for child in children
            ]
        except FileNotFoundError:
            return True
        return all(state == "T" for state in states)

    def resume(self) -> None:
        """Resume a paused process."""
        os.kill(self.pid, watchdog.RESUME)


class Server(ABC):
    """A child process that accepts connections; as a context manager it starts and stops the process."""

    process: Process

    @abstractmethod
    def start(self) -> None:
        """Start the server and wait until clients can connect."""

    def stop(self) -> None:
        """Shut the server down in order."""
        self.process.stop()

    def kill(self) -> None:
        """Send SIGKILL and wait until the server has ended."""
        self.process.kill()

    def restart(self) -> None:
        """Stop the server and start it again on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """Return a port on loopback that is free now, one of PORTS.

    Raises:
        OSError: none was found.
    """
    for port in SystemRandom().sample(PORTS, 100):
        with suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port
    raise OSError(f"no free port found between {PORTS[0]} and {PORTS[-1]}")
