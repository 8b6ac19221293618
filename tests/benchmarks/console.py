"""How long the pages and the actions of the console take, and how much memory, with many dead letters of one cause."""

import re
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from deploy.local.process import LOOPBACK
from deploy.local.worker_process import WorkerProcess
from tests.benchmarks.dead_letters import HEAD, generate_dead_letters
from tests.benchmarks.environment import BenchmarkEnvironment, Figures
from tests.support.console_user import ConsoleUser
from tests.support.local import wait_until

_SECONDS = 900.0
"""Longest wait for one step."""
_MAX_RATE = "10000000"


def measure_console(env: BenchmarkEnvironment, letters: int) -> list[Figures]:
    """One line for each step: the first scan, pages, and a discard, a restore and a replay of all dead letters."""
    table, topic = env.create_table(), env.create_empty_topic(partitions=1)
    head = HEAD._replace(table=f"{env.stack.database}.{table}")
    env.fill(topic, islice(generate_dead_letters(whole=False, head=head), letters))
    variables = env.worker_environment(
        env.stack.topic, table, KAFKA_DLQ_TOPIC=topic, CONSOLE_PORT="0", CONSOLE_ALLOW_ANONYMOUS_ACTIONS="true"
    )
    console = WorkerProcess(env.directory, variables, env.new_name(), ("console",))
    began = time.perf_counter()
    console.start()
    try:
        return _measure_steps(console, letters, began)
    finally:
        console.stop()


def _measure_steps(console: WorkerProcess, letters: int, began: float) -> list[Figures]:
    user = ConsoleUser(f"http://{LOOPBACK}:{console.http_port}", _SECONDS)
    lines: list[Figures] = []

    def measure(step: str, work: Callable[[], str], began: float | None = None) -> str:
        cpu = 0.0 if began else console.cpu_seconds()
        began = time.perf_counter() if began is None else began
        done = work()
        lines.append(
            {
                "step": step,
                "letters": letters,
                "seconds": round(time.perf_counter() - began, 3),
                "cpu_seconds": round(console.cpu_seconds() - cpu, 2),
                "peak_memory_mb": _peak_memory(console),
            }
        )
        return done

    measure("start and first scan", lambda: _wait_for_scan(user), began)
    cause = re.findall(r"/causes/([0-9a-f]+)", measure("first page", user.read_source))[0]
    page = measure("a page of the cause", lambda: user.read_source(f"/causes/{cause}"))
    letter = re.findall(r"/letters/[0-9]+:[0-9]+", page)[0]
    measure("one dead letter", lambda: user.read(letter))
    for kind, fields in (("discard", {"reason": "benchmark"}), ("restore", {}), ("replay", {"rate": _MAX_RATE})):
        values = {"limit": str(letters), **fields}
        form = f"/actions/new?do={kind}&cause={cause}"
        action = measure(f"check of a {kind}", lambda form=form, values=values: user.check(form, values))  # type: ignore[misc]
        measure(kind, lambda action=action: _run(user, action))  # type: ignore[misc]
    return lines


def _wait_for_scan(user: ConsoleUser) -> str:
    wait_until(lambda: "/causes/" in user.read_source(), "the topic is scanned", _SECONDS, 0.1)
    return ""


def _run(user: ConsoleUser, action: str) -> str:
    user.start(action)
    user.wait_for(action, "done")
    return action


def _peak_memory(console: WorkerProcess) -> float:
    status = Path(f"/proc/{console.pid}/status").read_text("ascii")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return round(int(match[1]) / 1000, 1)
