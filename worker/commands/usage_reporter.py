"""A program of its own, started by `execution`: runs a command and reports what it used. Standard library only.

It exists for the peak of memory. Linux counts what a process held before exec, which is the memory of the one that
started it, so a child of the worker would never seem to need less than the worker's own 70 MB. This process is small
enough (8 MB) to stand between.

    python -I -S usage_reporter.py REPORT_FD COMMAND...

It writes two lines of JSON to the descriptor: the process id or the error that starting met, then the usage. Signals
are not its business: it outlives those that `worker.commands.execution` forwards.
"""

import json
import os
import signal
import sys
from time import monotonic, time
from types import FrameType

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# What Python ignores and other programs expect not to be ignored.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in one unit of `ru_maxrss`: macOS counts bytes, Linux KiB."""


def main(report_fd: int, command: list[str]) -> None:
    """Run `command` to its end. The signals of `FORWARDED` are blocked when this begins."""
    os.set_inheritable(report_fd, False)
    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _outlive)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED) - set(FORWARDED)
    with open(report_fd, "w", buffering=1, encoding="utf-8") as report:
        started_at, started = time(), monotonic()
        try:
            process = os.posix_spawnp(command[0], command, os.environ, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON)
        except OSError as error:
            print(json.dumps({"errno": error.errno}), file=report)
            return
        print(json.dumps({"pid": process}), file=report)
        _, status, used = os.wait4(process, 0)
        usage = {
            "started_at": started_at,
            "seconds": monotonic() - started,
            "exit_code": os.waitstatus_to_exitcode(status),
            "user_seconds": used.ru_utime,
            "system_seconds": used.ru_stime,
            "peak_bytes": used.ru_maxrss * _PEAK_UNIT,
            "major_page_faults": used.ru_majflt,
            "voluntary_context_switches": used.ru_nvcsw,
            "involuntary_context_switches": used.ru_nivcsw,
        }
        print(json.dumps(usage), file=report)


def _outlive(_number: int, _frame: FrameType | None) -> None:
    """A handler instead of SIG_IGN, because what is ignored would be ignored by the command as well."""


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
