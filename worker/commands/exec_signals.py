"""Signal handling of a process that runs a command: signals are for the command."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import FrameType

from worker.commands.usage_reporter import FORWARDED_SIGNALS

_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGQUIT)
"""Signals that a terminal sends for Ctrl-C and Ctrl-\\."""


class SignalForwarder:
    """A signal handler that forwards signals to a command of the same process group.

    Signals that arrive before the command has started are forwarded once it has. Ctrl-C at a terminal reaches every
    process of the group directly and is not forwarded: many programs abort at a second one.
    """

    def __init__(self) -> None:
        self._pid: int | None = None
        self._pending: list[int] = []

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self._pid is None:
            self._pending.append(number)
        elif number not in _TERMINAL_SIGNALS or not _is_foreground_group():
            _send(self._pid, number)

    def set_target(self, pid: int) -> None:
        """Set the process that gets the signals."""
        self._pid = pid
        for number in self._pending:
            _send(pid, number)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_foreground_group() -> bool:
    """Whether the terminal, if there is one, sends its signals to the process group of this process."""
    try:
        with Path("/dev/tty").open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the forwarded signals. An ignored signal (`nohup`, a background job) stays ignored, by the command too."""
    previous = {
        number: signal.signal(number, handler)
        for number in FORWARDED_SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler_before in previous.items():
            signal.signal(number, handler_before)


def ignore_signals() -> AbstractContextManager[None]:
    """Keep this process alive on the forwarded signals, from the start of a command until its event is sent.

    A supervisor often signals the group more than once, and the command may have ended before the second signal.
    """
    return handle_signals(lambda _number, _frame: None)
