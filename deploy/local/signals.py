"""SIGINT and SIGTERM for commands that run until they get one."""

from __future__ import annotations

import signal
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_on_signals() -> None:
    """Let SIGINT and SIGTERM raise SystemExit, with code 0, so that context managers stop what they started."""
    for number in _SIGNALS:
        signal.signal(number, _exit)


def wait_for_signal() -> NoReturn:
    """Wait for a signal that ends the program."""
    while True:
        signal.pause()


def _exit(*_: object) -> None:
    """Exit, and ignore further signals so that they cannot interrupt the stopping of servers."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)
