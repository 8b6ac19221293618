"""`python watchdog.py COMMAND…`: run a command that ends when whoever started it ends, however it ends.

The starter holds the other end of this process's standard input and never writes to it: the kernel closes it when the
starter dies, by SIGKILL too, and then the command is killed. Should this process itself be killed, Linux kills the
command (PR_SET_PDEATHSIG). That signal alone would not do: it is sent when the *thread* that started the command
ends, and callers start processes from short-lived threads; here there is one thread and it stays.

Standard library only, run by path with `-I -S`: it must start at once.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

# SIGSTOP itself would stop the leash too, and a stopped leash cannot notice that its starter has died.
PAUSE, RESUME = signal.SIGUSR1, signal.SIGUSR2
FORWARDED = {signal.SIGTERM: signal.SIGTERM, PAUSE: signal.SIGSTOP, RESUME: signal.SIGCONT}


def main(command: list[str]) -> int:
    """Run `command` to its end; its exit code, or 128 and the number of the signal that ended it."""
    wakeup, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup_write)
    for caught in (*FORWARDED, signal.SIGCHLD):
        signal.signal(caught, lambda *_: None)
    # No other thread runs here, so code between fork and exec is safe.
    start = _die_with_watchdog
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=start)  # noqa: PLW1509 - see above
    while child.poll() is None:
        readable, _, _ = select.select([sys.stdin.fileno(), wakeup], [], [])
        if sys.stdin.fileno() in readable:
            child.kill()
            child.wait()
        elif wakeup in readable:
            received = map(signal.Signals, os.read(wakeup, 64))
            for number in filter(FORWARDED.__contains__, received):
                child.send_signal(FORWARDED[number])
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _die_with_watchdog() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
