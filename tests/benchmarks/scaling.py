"""One worker on one core, and two workers on two, on the same topic.

Broker and engine use the same cores, so with two cores this shows the limit of the machine, not of the worker.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from deploy.local.worker_process import WorkerProcess
from tests.benchmarks.environment import BenchmarkEnvironment, Figures
from tests.benchmarks.events import Shape
from tests.benchmarks.worker import wait_until_ready


def measure_scaling(env: BenchmarkEnvironment, count: int, runs: int) -> list[Figures]:
    """Medians for one worker and for two, and the ratio, taken within each run."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    one, two = [], []
    for _ in range(runs):
        one.append(_measure(env, count, cores[:1]))
        two.append(_measure(env, count, cores))
    ratios = [float(b["events_per_second"]) / float(a["events_per_second"]) for a, b in zip(one, two, strict=True)]
    return [
        {"workers": 1, **_median(one), "ratio": 1.0},
        {"workers": 2, **_median(two), "ratio": round(median(ratios), 2)},
    ]


def _median(lines: list[Figures]) -> Figures:
    return {name: median(float(line[name]) for line in lines) for name in lines[0]}


def _measure(env: BenchmarkEnvironment, count: int, cores: list[int]) -> Figures:
    topic, table = env.topic(Shape(), count), env.create_table()
    environment = env.worker_environment(topic.name, table)
    with ExitStack() as started, env.client() as client:
        workers = []
        for core in cores:
            workers.append(started.enter_context(WorkerProcess(env.directory, environment, env.new_name())))
            _pin(workers[-1].pid, core)
        # The first worker has all partitions until the second has joined.
        for worker in workers:
            wait_until_ready(worker)
        began, before = time.time(), sum(worker.cpu_seconds() for worker in workers)
        busy = _machine_cpu_seconds()
        ((consumed,),) = client.execute(f"SELECT count() FROM {table}")  # noqa: S608
        rows = topic.rows - consumed
        while consumed < topic.rows:
            time.sleep(0.05)
            ((consumed,),) = client.execute(f"SELECT uniqExact(execution_id, metric_type) FROM {table}")  # noqa: S608
        ((ended,),) = client.execute(f"SELECT toUnixTimestamp64Milli(max(ingested_at)) FROM {table}")  # noqa: S608
        cpu = sum(worker.cpu_seconds() for worker in workers) - before
        machine = _machine_cpu_seconds() - busy
    seconds = ended / 1000 - began
    return {
        "events_per_second": round(rows / topic.shape.metrics / seconds),
        "workers_cores": round(cpu / seconds, 2),
        "machine_cores": round(machine / seconds, 2),
    }


def _pin(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def _machine_cpu_seconds() -> float:
    """CPU seconds of all processes of this machine."""
    user, nice, system, *_ = Path("/proc/stat").read_text().split()[1:]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")
