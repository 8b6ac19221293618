"""The worker, which prints of what its memory consists at each new peak: `python -m tests.fuzz.memory_probe run`.

Sizes are in MB. A line is one JSON object:

resident      as the kernel counts it (VmRSS)
heap          blocks of glibc's arenas that are in use, and Python objects above 512 bytes below 8 MiB
heap_free     freed, but not returned to the system, because what is behind it is in use
buffers       mapped one by one by glibc: what is larger, such as records, texts and answers to a fetch
other         Python objects up to 512 bytes (see `blocks`), stacks, code, and what a large record batch inflates to
blocks        how many of those objects there are
stack         of the main thread, innermost function first
"""

import ctypes
import json
import sys
import threading
import time
import traceback
from pathlib import Path

from worker.cli import main as run_command

PREFIX = '{"resident": '
"""How a line begins."""
_MB = 1_000_000
_STEP = 5 * _MB
_SECONDS = 0.002
_PAGE = 4096
_FUNCTIONS = 8


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc's malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


_mallinfo2 = ctypes.CDLL(None).mallinfo2
_mallinfo2.restype = _Mallinfo2


def describe_memory(resident: int, thread: int | None) -> dict[str, object]:
    """The parts of so many resident bytes, and the stack of a thread."""
    heap = _mallinfo2()
    frame = sys._current_frames().get(thread or 0)
    stack = traceback.extract_stack(frame)[: -_FUNCTIONS - 1 : -1]
    sizes = {"resident": resident, "heap": heap.uordblks, "heap_free": heap.fordblks, "buffers": heap.hblkhd}
    sizes["other"] = resident - heap.arena - heap.hblkhd
    return {
        **{name: size // _MB for name, size in sizes.items()},
        "blocks": sys.getallocatedblocks(),
        "stack": " < ".join(f"{Path(one.filename).stem}.{one.name}:{one.lineno}" for one in stack),
    }


def _watch() -> None:
    peak, main = 0, threading.main_thread().ident
    while True:
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE
        if resident >= peak + _STEP:
            peak = resident
            print(json.dumps(describe_memory(resident, main)), flush=True)  # noqa: T201 - to the log of the worker
        time.sleep(_SECONDS)


if __name__ == "__main__":
    threading.Thread(target=_watch, name="memory", daemon=True).start()
    run_command()
