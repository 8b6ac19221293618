"""The time from the planned sending of an event until a SELECT counts its rows.

The load is open (`load.py`). Runs of all settings and rates alternate, and every figure is the median of its runs;
`p99_runs` is the least and the greatest p99. A second client queries `count()` every 10 ms. A row is visible at the
first count that includes it, with the rows in the order of `ingested_at`, so that every latency is rounded up by the
time between two queries. The first seconds of a load are not counted, because a broker that has just started is slow.
"""

import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence

import click
from clickhouse_driver import Client

from deploy.local.environment import environment_without_settings
from deploy.local.process import REPOSITORY
from deploy.local.worker_process import WorkerProcess
from tests.benchmarks.environment import BenchmarkEnvironment, Figures
from tests.benchmarks.load import SHAPE
from tests.benchmarks.medians import median_of
from tests.benchmarks.worker import wait_until_ready

SETTINGS: dict[str, dict[str, str]] = {"default": {}, "low latency": {"BATCH_LINGER_MS": "10"}}
_PARTITIONS = 4
_QUERY_SECONDS = 0.01
_SETTLE_SECONDS = 60.0
_WARM_UP_SECONDS = 5.0


def measure_latency(env: BenchmarkEnvironment, rates: Sequence[int], seconds: float, runs: int) -> list[Figures]:
    """One line for each rate, with default settings and with those for low latency: the medians of `runs` runs."""
    loads = [(named, rate) for named in SETTINGS for rate in rates]
    samples: dict[tuple[str, int], list[Figures]] = {load: [] for load in loads}
    for _ in range(runs):
        for named, rate in loads:
            samples[named, rate].append(_measure(env, rate, seconds, SETTINGS[named]))
    return [{"settings": named, **_compute_medians(samples[named, rate])} for named, rate in loads]


def _compute_medians(samples: Sequence[Figures]) -> Figures:
    p99 = sorted(int(sample["p99_ms"]) for sample in samples)
    medians: Figures = {name: median_of(samples, name) for name in samples[0]}
    return medians | {"runs": len(samples), "p99_runs": f"{p99[0]} to {p99[-1]}"}


def _measure(env: BenchmarkEnvironment, rate: int, seconds: float, settings: dict[str, str]) -> Figures:
    topic, table = env.create_empty_topic(_PARTITIONS), env.create_table()
    with WorkerProcess(env.directory, env.worker_environment(topic, table, **settings), env.new_name()) as worker:
        wait_until_ready(worker)
        cpu = worker.cpu_seconds()
        lasting = _WARM_UP_SECONDS + seconds
        arguments = (env.stack.broker.bootstrap_servers, topic, _PARTITIONS, rate, lasting)
        load = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "tests.benchmarks.load", *map(str, arguments)],
            cwd=REPOSITORY,
            env=environment_without_settings(),
        )
        with load, env.client() as client:
            seen = _record_visible_rows(client, table, int(rate * lasting) * (SHAPE.metrics + SHAPE.booleans))
            if load.wait():
                raise click.ClickException("the load has failed")
            cpu, telemetry = worker.cpu_seconds() - cpu, worker.telemetry()
            planned = client.execute(f"SELECT toUnixTimestamp64Milli(completed_at) FROM {table} ORDER BY ingested_at")  # noqa: S608
            client.execute(f"DROP TABLE {table} SYNC")  # else its merges would run beside the next load
    spent, inserts = (telemetry[f"metrics_worker_insert_seconds_{name}"][()] for name in ("sum", "count"))
    delays = sorted(_compute_delays([one / 1000 for (one,) in planned], seen))
    return {
        "events_per_second": rate,
        "seconds": seconds,
        **{f"p{share:g}_ms": round(_quantile(delays, share / 100) * 1000) for share in (50, 99, 99.9)},
        "max_ms": round(delays[-1] * 1000),
        "inserts": int(inserts),
        "ms_per_insert": round(spent / inserts * 1000),
        "worker_cpu_share": round(cpu / lasting, 3),
    }


def _record_visible_rows(client: Client, table: str, rows: int) -> list[tuple[int, float]]:
    """The number of visible rows and the time, at each change."""
    seen: list[tuple[int, float]] = []
    moved = time.monotonic()
    while not seen or seen[-1][0] < rows:
        ((count,),) = client.execute(f"SELECT count() FROM {table}")  # noqa: S608
        if count > (seen[-1][0] if seen else 0):
            seen.append((count, time.time()))
            moved = time.monotonic()
        if time.monotonic() - moved > _SETTLE_SECONDS:
            raise click.ClickException(f"{count} rows of {rows}, and no progress")
        time.sleep(_QUERY_SECONDS)
    return seen


def _compute_delays(planned: Sequence[float], seen: Sequence[tuple[int, float]]) -> list[float]:
    """Seconds from plan to visibility of each row after the warm-up; `planned` is in the order of insertion."""
    counts, counted_from = [count for count, _ in seen], min(planned) + _WARM_UP_SECONDS
    places = enumerate(planned, start=1)
    return [seen[bisect_left(counts, place)][1] - when for place, when in places if when >= counted_from]


def _quantile(delays: Sequence[float], share: float) -> float:
    return delays[min(int(len(delays) * share), len(delays) - 1)]
