"""Signals that are meant for another process than the one that receives them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from worker.commands.usage_reporter import FORWARDED

_TYPED = (signal.SIGINT, signal.SIGQUIT)
"""Signals that a terminal sends when somebody types Ctrl-C or Ctrl-\\."""


class SignalForwarder:
    """A signal handler that passes signals on to a command of the same process group.

    Signals that come before the command has started wait for it. Ctrl-C at a terminal reaches every process of the
    group by itself, and many programs take a second one for impatience, so it is not passed on.
    """

    def __init__(self) -> None:
        self._process: int | None = None
        self._waiting: list[int] = []

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self._process is None:
            self._waiting.append(number)
        elif number not in _TYPED or not _in_foreground():  # else the terminal has sent it to the whole group
            _send(self._process, number)

    def to(self, process: int) -> None:
        """Name the process that the signals are for."""
        self._process = process
        for number in self._waiting:
            _send(process, number)


def _send(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _in_foreground() -> bool:
    """Whether what is typed at the terminal, if there is one, goes to the process group of this process."""
    try:
        with Path("/dev/tty").open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the forwarded signals; one that is ignored (`nohup`, a background job) stays so, for the command too."""
    previous = {
        number: signal.signal(number, handler) for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def ignore_signals() -> Iterator[None]:
    """Keep this process going through the signals that are forwarded to a command.

    For the time from the start of a command until its event is emitted: who stops a group of processes often signals
    more than once, and the second time the command may be gone already.
    """
    with handle_signals(lambda _number, _frame: None):
        yield
