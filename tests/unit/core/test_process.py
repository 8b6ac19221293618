"""Signals and memory, in a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
_FREE_LARGE_BUFFERS = """
import re
from pathlib import Path
from worker.core.process import return_large_buffers

def resident_megabytes():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1_000

return_large_buffers()
before, kept = resident_megabytes(), []
for megabytes in (31, *range(9, 30)):
    buffer = bytearray(b"x") * (megabytes * 1_000_000)
    kept.append(bytearray(b"x") * 10_000)  # behind it, if it is not in pages of its own
    del buffer
print(resident_megabytes() - before)
"""
_AS_PID_1 = "import signal; signal.raise_signal = lambda number: None  # as the kernel does for PID 1\n"
_IMPORT_SLOWLY = """
import sys, time

class SlowImport:
    def find_spec(self, name, path, target=None):
        if name == "worker.cli":
            print("importing", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, SlowImport())
from worker.__main__ import main
main()
"""


@contextmanager
def python(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(  # noqa: S603 - the interpreter of this test
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process


def wait_for_line(process: subprocess.Popen[str], expected: str) -> None:
    assert process.stdout is not None
    assert any(line == f"{expected}\n" for line in process.stdout)


def second_signal_ends(process: subprocess.Popen[str], first: signal.Signals, second: signal.Signals) -> int:
    wait_for_line(process, "ready")
    process.send_signal(first)
    wait_for_line(process, "stopping")
    process.send_signal(second)
    return process.wait(timeout=10)


@pytest.mark.parametrize(("first", "second"), [*product((signal.SIGTERM, signal.SIGINT), repeat=2)])
def test_second_signal_of_either_kind_ends_a_slow_stop(first: signal.Signals, second: signal.Signals) -> None:
    with python(_STOP_SLOWLY) as process:
        assert second_signal_ends(process, first, second) == -second


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_pid_1_of_a_container(second: signal.Signals) -> None:
    """Which the default action of a signal does not end."""
    with python(_AS_PID_1 + _STOP_SLOWLY) as process:
        assert second_signal_ends(process, signal.SIGTERM, second) == 128 + second


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_imports_of_run_ends_it_with_0(number: signal.Signals) -> None:
    with python(_IMPORT_SLOWLY, "run") as process:
        wait_for_line(process, "importing")
        process.send_signal(number)
        assert process.wait(timeout=10) == 0


def test_signal_during_the_imports_of_another_command_ends_it_by_the_signal() -> None:
    with python(_IMPORT_SLOWLY, "replay") as process:
        wait_for_line(process, "importing")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM


def test_freed_buffers_of_large_records_are_returned_to_the_system() -> None:
    with python(_FREE_LARGE_BUFFERS) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) < 5
