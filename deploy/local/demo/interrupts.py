"""Ctrl-C and SIGTERM: stop everything that was started, once and in order."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY_SIGNAL = 128


class InterruptHandler:
    """Turns both signals into KeyboardInterrupt, which asyncio can unwind; `exit_code` is 128 + the signal's number."""

    def __init__(self) -> None:
        self.exit_code = _BY_SIGNAL + signal.SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, number: int, _frame: object) -> None:
        self.exit_code = _BY_SIGNAL + number
        signal.raise_signal(signal.SIGINT)


@contextmanager
def ignore_further_interrupts() -> Iterator[None]:
    """Ignore a second signal while the enclosing block cleans up after the first."""
    try:
        yield
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise
