"""A small program that runs a command and reports its resource usage, as GNU `time` does. Standard library only.

It exists for the peak of memory. On Linux the peak of a process includes its memory before `exec`, a copy of its
parent's: a direct child of the worker would never seem to use less than the worker's 70 MB. This program uses 8 MB.

    python -I -S usage_reporter.py REPORT_FD COMMAND...

It writes two lines of JSON to the descriptor: the process id or the error of the start, then the usage. It survives the
signals that `worker.commands.execution` forwards.
"""

import json
import os
import signal
import sys
from time import monotonic, time
from types import FrameType

FORWARDED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores; the command gets their default action back."""
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in one unit of `ru_maxrss`: macOS counts bytes, Linux KiB."""


def main(report_fd: int, command: list[str]) -> None:
    """Run `command` to its end. The caller has blocked `FORWARDED_SIGNALS`."""
    os.set_inheritable(report_fd, False)
    for number in FORWARDED_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _do_nothing)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED_SIGNALS) - set(FORWARDED_SIGNALS)
    with open(report_fd, "w", buffering=1, encoding="utf-8") as report:
        started_at, started = time(), monotonic()
        try:
            pid = os.posix_spawnp(command[0], command, os.environ, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON)
        except OSError as error:
            print(json.dumps({"errno": error.errno}), file=report)
            return
        print(json.dumps({"pid": pid}), file=report)
        _, status, usage = os.wait4(pid, 0)
        measured = {
            "started_at": started_at,
            "seconds": monotonic() - started,
            "exit_code": os.waitstatus_to_exitcode(status),
            "user_seconds": usage.ru_utime,
            "system_seconds": usage.ru_stime,
            "peak_bytes": usage.ru_maxrss * _MAXRSS_UNIT,
            "major_page_faults": usage.ru_majflt,
            "voluntary_context_switches": usage.ru_nvcsw,
            "involuntary_context_switches": usage.ru_nivcsw,
        }
        print(json.dumps(measured), file=report)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler instead of SIG_IGN, which the command would inherit."""


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
