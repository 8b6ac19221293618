"""Signals, in a process of its own."""

import signal
import subprocess
import sys
from itertools import product

import pytest

_STOP_SLOWLY = """
import asyncio
from worker.core.process import stop_on_signals

async def main():
    stop = stop_on_signals()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize(("first", "second"), [*product((signal.SIGTERM, signal.SIGINT), repeat=2)])
def test_second_signal_of_either_kind_ends_a_slow_stop(first: signal.Signals, second: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603 - the interpreter of this test
        [sys.executable, "-c", _STOP_SLOWLY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        while process.stdout.readline() != "stopping\n":
            pass
        process.send_signal(second)
        assert process.wait(timeout=10) == -second
