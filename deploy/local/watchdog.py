"""`python watchdog.py COMMAND…`: run a command, and kill it when the parent process ends for any reason.

The parent holds the write end of this process's standard input and never writes to it. When the parent dies, even by
SIGKILL, the kernel closes the pipe and the watchdog kills the command. If the watchdog itself is killed, Linux kills
the command (PR_SET_PDEATHSIG). That signal alone is not enough: Linux sends it when the *thread* that started the
command ends, and callers start processes from short-lived threads. The watchdog has a single thread.

It uses only the standard library and runs by path with `-I -S`, so that it starts quickly.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

# SIGSTOP would stop the watchdog too, and a stopped watchdog cannot detect that its parent has died.
PAUSE, RESUME = signal.SIGUSR1, signal.SIGUSR2
FORWARDED = {signal.SIGTERM: signal.SIGTERM, PAUSE: signal.SIGSTOP, RESUME: signal.SIGCONT}


def main(command: list[str]) -> int:
    """Run `command` until it ends; return its exit code, or 128 plus the number of the signal that ended it."""
    wakeup, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup_write)
    for caught in (*FORWARDED, signal.SIGCHLD):
        signal.signal(caught, lambda *_: None)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_watchdog,  # noqa: PLW1509 - safe between fork and exec: this process has one thread
    )
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
