"""A command in a pseudo-terminal."""

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
from codecs import getincrementaldecoder
from types import TracebackType

from deploy.local.environment import environment_without_settings


class Terminal:
    """Runs `metrics-worker` with a pseudo-terminal as stdin, stdout and stderr.

    Attributes:
        process: the command.
        written: the output so far.
    """

    def __init__(self, environment: dict[str, str], *arguments: str, columns: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.written = ""
        self._decoder = getincrementaldecoder("utf-8")("replace")
        inherited = environment_without_settings()
        for name in ("COLUMNS", "LINES"):  # of the terminal of the tests
            inherited.pop(name, None)
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *arguments],
            env=inherited | {"TERM": "xterm-256color"} | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_set_controlling_terminal,  # noqa: PLW1509 - there are no threads; needed for Ctrl-C
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
        """Send keys; `\\x03` is Ctrl-C."""
        os.write(self._ours, keys.encode())

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read until the output has `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.written and time.monotonic() < deadline and self._read():
            pass
        assert text in self.written, self.written

    def end(self, seconds: float = 60.0) -> int:
        """Read to the end; returns the exit code."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._read():
            pass
        return self.process.wait(timeout=max(1.0, deadline - time.monotonic()))

    @property
    def lines(self) -> list[str]:
        """The lines of the output, without escape sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.written).replace("\r\n", "\n").splitlines()

    def _read(self) -> bool:
        """Read some output; returns whether there may be more."""
        if not select.select([self._ours], [], [], 0.5)[0]:
            return True
        try:
            some = os.read(self._ours, 65_536)
        except OSError:  # Linux: the other side is closed
            return False
        self.written += self._decoder.decode(some)  # a read may end within a character
        return bool(some)


def _set_controlling_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
