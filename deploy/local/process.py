"""Child processes of the local stack: started until ready, stopped with a deadline, never left behind."""

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
from typing import TYPE_CHECKING, Self, TypeVar

from deploy.local import watchdog
from deploy.local.environment import environment_without_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOOPBACK = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.02
WATCHDOG_SECONDS = 5.0
TAIL_CHARACTERS = 4_000

Ready = TypeVar("Ready")


class ProcessFailedError(RuntimeError):
    """A child did not become ready; the text ends with the last lines that it wrote."""


class Process:
    """One child process on a leash (see `leash`), its output in a log file.

    Start and stop from any thread, one call at a time. The child has a session of its own, so that Ctrl-C in a
    terminal reaches only the parent, which then stops its children in order.
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
        """Change variables of its environment, for its next start."""
        self._environment |= environment

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The process group of the child and its leash."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._popen.pid

    def start(self, ready: Callable[[str], Ready | None], timeout_seconds: float = 30.0) -> Ready:
        """Start it and wait until `ready`, called with what it has written so far, returns something.

        Raises:
            ProcessFailedError: it ended, or the time was up; it does not run any more.
        """
        if self.running:
            raise RuntimeError(f"{self.name} already runs")
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
        """All that it has written since its last start."""
        return self._log.read_text(errors="replace")

    def tail(self) -> str:
        """The end of its output, for error messages."""
        return self.output()[-TAIL_CHARACTERS:]

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """SIGTERM, and SIGKILL when it has not ended in time. Nothing if it does not run."""
        if self._popen is None:
            return
        if self.running:
            self.resume()
            self._popen.terminate()
            with suppress(subprocess.TimeoutExpired):  # killed below, then
                self._popen.wait(timeout_seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, at once, and wait until it is gone, its port free. Nothing if it does not run."""
        if self._popen is None:
            return
        if self._popen.stdin is not None:
            # The leash takes the end of its input for the starter's death, kills the child and waits for it. To kill
            # both from here would be to wait for the leash alone: the child is not ours, and may linger.
            self._popen.stdin.close()
        try:
            self._popen.wait(WATCHDOG_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        self._popen = None

    def pause(self) -> None:
        """Stop its execution where it is, as a machine that hangs: connections stay open and nothing answers."""
        os.kill(self.pid, watchdog.PAUSE)

    def resume(self) -> None:
        """Let a paused one go on."""
        os.kill(self.pid, watchdog.RESUME)


class Server(ABC):
    """A child process that others connect to; `with` starts it and stops it."""

    process: Process

    @abstractmethod
    def start(self) -> None:
        """Start it; returns when clients may connect."""

    def stop(self) -> None:
        """End it in good order."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def restart(self) -> None:
        """End it and start it again on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])
