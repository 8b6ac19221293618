"""A command at a terminal of its own, as a person sees it and types to it."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from types import TracebackType

from deploy.local.environment import environment_without_settings


class Terminal:
    """Runs `metrics-worker` with a terminal for stdin, stdout and stderr.

    Attributes:
        process: the command.
        written: all that it has written so far.
    """

    def __init__(self, environment: dict[str, str], *arguments: str, columns: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.written = ""
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *arguments],
            env=environment_without_settings() | {"TERM": "xterm-256color"} | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_has_terminal,  # noqa: PLW1509 - no threads here; without it nobody is sent a Ctrl-C
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """Type; `\\x03` is Ctrl-C."""
        os.write(self._ours, keys.encode())

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read until it has written `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.written and time.monotonic() < deadline and self._read():
            pass
        assert text in self.written, self.written

    def end(self, seconds: float = 60.0) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._read():
            pass
        return self.process.wait(timeout=max(1.0, deadline - time.monotonic()))

    @property
    def lines(self) -> list[str]:
        """What it has written, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.written).replace("\r\n", "\n").splitlines()

    def _read(self) -> bool:
        """Whether there may be more."""
        if not select.select([self._ours], [], [], 0.5)[0]:
            return True
        try:
            some = os.read(self._ours, 65_536)
        except OSError:  # so Linux says that the other side is closed
            return False
        self.written += some.decode("utf-8", "replace")
        return bool(some)


def _has_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
