"""The process and its tasks: memory, signals, cancellation."""

import asyncio
import ctypes
import gc
import os
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As glibc's malloc.h has them."""
_LARGE_BUFFER_BYTES = 8 * 1024 * 1024


def relax_garbage_collection(objects: int = 100_000) -> None:
    """Collect cycles after so many new objects; by default a hundred times less often than Python does.

    A batch is some hundred thousand objects without a cycle, which the collector would traverse again and again:
    measured, a fifth of the CPU of an event.
    """
    gc.freeze()
    gc.set_threshold(objects, 20, 100)


def return_large_buffers() -> None:
    """Let glibc return a buffer of 8 MiB or more to the system as soon as it is freed; without glibc do nothing.

    By default each such buffer raises the size from which glibc does so, up to 32 MiB. Large records then leave holes
    between smaller objects: after 700 of them 211 MB were resident instead of 174. A lower size would cost ordinary
    events page faults.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BUFFER_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BUFFER_BYTES)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. A second signal of either kind ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def request_stop(number: signal.Signals) -> None:
        log.info("stop requested", signal=number.name)
        stop.set()
        for each in _STOP_SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, _end_process)

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, request_stop, number)
    return stop


def _end_process(number: int, _frame: FrameType | None) -> None:
    """End at once, by the signal itself; as PID 1 of a container, which the kernel does not end, with its exit code."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)


async def run_unless_stopped(stop: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """The result of `work`; None if `stop` is set first, which cancels `work`."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_tasks(task, stopping)
    return None if task.cancelled() else task.result()


async def cancel_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until they have ended; what they raise is ignored."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
